"""Clipping: how much of what calibration showed lies outside the ranges that a flow chose."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from pytest_quant.machine import torch_api
from pytest_quant.quantize.flows.flow import Flow, FlowRefusal
from pytest_quant.quantize.parting import place_of
from pytest_quant.quantize.rounding import Rounding, rounding

CLIPPED = 0.01  # of an activation's values: more than an outlier's share
CLIPPED_BY_CHOICE = 0.05  # by an observer that weighs clipping against rounding
SATURATED = 0.05  # of an activation's values on eval data: more than unlike samples explain
LITTLE = 0.1  # of the range: values that are clipped by less than that cost little
# Observers whose range is the data's own, or fixed beforehand by PyTorch for an operation.
WITHOUT_CHOICE = ("MinMaxObserver", "MovingAverageMinMaxObserver", "FixedQParamsObserver")


def refuse_clipping(prepared: Any, flow: Flow, run: Callable[[Any], Any]) -> None:
    """Refuse a flow that gave an activation a range which does not hold it.

    FX gives a norm that is followed by a sigmoid the sigmoid's fixed range of 0 to 1, for example.

    Args:
        prepared: a calibrated model.
        run: calls a model with calibration samples.

    Raises:
        FlowRefusal: names the operation and the share that is clipped.
    """
    copied = flow.rehearsal(prepared)
    observers = torch_api.observing_modules(copied)
    torch_api.pass_copies(copied)
    shares = _clipped(observers, lambda: run(copied))
    over = {name: share for name, share in shares.items() if share > _allowed(observers[name])}
    if over:
        name = max(over, key=over.__getitem__)
        raise FlowRefusal(
            "calibrate",
            flow.NAME,
            f"gives {source_of(copied, name)} a range that does not hold {100 * over[name]:.0f} % of its "
            "values on the calibration data",
            "Keep that part FP32 with keep_fp32, or take another flow.",
        )


def told_of_saturation(
    rehearsed: Any, run: Callable[[Any], Any], trains: bool = False
) -> tuple[str, ...]:
    """A note where much of what a model is evaluated on lies outside the ranges it was calibrated to.

    Each such value becomes the range's end, which a forgiving metric may not show. Calibration data of
    another scale than the eval data is the usual reason.

    Args:
        rehearsed: rounds in float as the converted model does; left as it is.
        run: calls a model with eval samples.
        trains: whether the ranges were found by training, in which they follow the activations slowly.
    """
    roundings = {n: child for n, child in rehearsed.named_modules() if isinstance(child, Rounding)}
    shares = _clipped(roundings | torch_api.observing_modules(rehearsed), lambda: run(rehearsed))
    over = {name: share for name, share in shares.items() if share > SATURATED}
    if not over:
        return ()
    most = max(over, key=over.__getitem__)
    others = f", as more than {100 * SATURATED:.0f} % are elsewhere" if len(over) > 1 else ""
    remedy = "Calibrate on inputs that are scaled like those that the model is evaluated on"
    if trains:
        remedy = (
            "Ranges follow training slowly: it took too few steps, or activations grew too fast (learning "
            "rate, loss), or its inputs are not scaled like those that the model is evaluated on"
        )
    return (
        f"its int8 ranges hold too little of the eval data: {100 * over[most]:.0f} % of the values of "
        f"{source_of(rehearsed, most)} lie outside and are clipped{others}. {remedy}",
    )


def _clipped(observers: Mapping[str, Any], run: Callable[[], Any]) -> dict[str, float]:
    """Of those with one range for a tensor, by name, the largest share of values that lies outside."""
    shares, hooks = dict[str, float](), []
    for name, observer in observers.items():
        rounds = observer if isinstance(observer, Rounding) else rounding(observer)
        if rounds is not None and rounds.axis is None:
            hooks.append(observer.register_forward_pre_hook(_counting(name, rounds, shares)))
    try:
        with torch.no_grad():
            run()
    finally:
        for hook in hooks:
            hook.remove()
    return shares


def _allowed(observer: Any) -> float:
    """The share that may be clipped, as its range was chosen."""
    by_choice = type(observer).__name__ not in WITHOUT_CHOICE
    return CLIPPED_BY_CHOICE if by_choice else CLIPPED


def _counting(name: str, rounds: Rounding, shares: dict[str, float]) -> Callable[..., None]:
    slack = LITTLE * (rounds.most - rounds.least)
    # a softmax of 1.0 lies one level above PyTorch's range for it, which loses nothing
    low = (rounds.least - 1.5 - slack - rounds.zero_point) * rounds.scale
    high = (rounds.most + 1.5 + slack - rounds.zero_point) * rounds.scale

    def hook(_: Any, args: Any) -> None:
        x = args[0]
        if x.is_floating_point() and x.numel():
            outside = float(((x < low) | (x > high)).double().mean())
            shares[name] = max(shares.get(name, 0.0), outside)

    return hook


def source_of(prepared: Any, name: str) -> str:
    """What gives the values that an observer sees, by the user's name where it is known."""
    path, _, own = name.rpartition(".")
    graph = prepared.get_submodule(path)
    if not isinstance(graph, torch.fx.GraphModule):  # it stands in a module of the user's
        return path or name
    for node in graph.graph.nodes:
        if node.op == "call_module" and node.target == own:
            source = node.args[0]
            return "the inputs" if source.op == "placeholder" else str(place_of(source, graph))
    return name
