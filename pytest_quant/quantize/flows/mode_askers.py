"""Mode askers: modules that do something else in train mode than in eval mode, as a tracer sees it.

A trace has one branch of ``if self.training``, and a random depth (StochasticDepth, DropPath) that was
traced in train mode stays random for good.
"""

import copy
from typing import Any

import torch

from pytest_quant.machine import torch_api
from pytest_quant.quantize.flows.example import Example
from pytest_quant.quantize.layer_types import CONVOLUTIONS, EMBEDDINGS, LINEAR, RECURRENT
from pytest_quant.subject.batches import tensors_in

CLOSE = 1e-2  # of the largest output; folding BatchNorm changes about a millionth of it
WEIGHTED = LINEAR | CONVOLUTIONS | EMBEDDINGS | RECURRENT


def mode_askers(module: Any, example: Example) -> frozenset[str]:
    """Names of the modules, the model itself being ``""``, that read ``self.training`` when they run.

    PyTorch's own layers are left out: tracers know their two modes.
    """
    asked = set[str]()
    copied = copy.deepcopy(module).train()
    for name, child in copied.named_modules():
        if not type(child).__module__.startswith("torch.nn.modules."):
            child.__class__ = _watched(type(child), name, asked)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for mode in (True, False):  # some models cannot run in train mode on such a batch
            try:
                copied.train(mode)(*example.args, **example.kwargs)
            except Exception:
                continue
    return frozenset(asked)


def without_weights(module: Any, names: frozenset[str]) -> list[str]:
    """Those that hold no layer that could become int8, so that they can stay what they are."""
    return [
        name
        for name in sorted(names)
        if name
        and not any(
            type(child).__name__ in WEIGHTED for child in module.get_submodule(name).modules()
        )
    ]


def is_the_model(made: Any, module: Any, example: Example) -> bool:
    """Whether a traced model, in eval mode and rounding nothing, is still the module that was traced.

    Args:
        made: of our own, with observers or fake-quantize modules; its rounding is switched off.
        module: a copy of what was traced.
    """
    module.eval()
    torch_api.pass_copies(made)
    state = torch.get_rng_state()
    with torch.no_grad():
        expected = list(tensors_in(module(*example.args, **example.kwargs)))
        module.train()
        try:
            found = list(tensors_in(made(*example.args, **example.kwargs)))
        except Exception:
            return False
    same = len(found) == len(expected) and all(map(is_close, expected, found))
    return same and torch.equal(state, torch.get_rng_state())


def is_close(expected: Any, output: Any) -> bool:
    """Whether a tensor is FP32's but for what folding BatchNorm changes."""
    if not expected.is_floating_point() or not torch.isfinite(expected).all():
        return True
    if expected.shape != output.shape:
        return False
    if not expected.numel():
        return True
    return float((output - expected).abs().max()) <= CLOSE * float(expected.abs().max()) + 1e-6


def told(module: Any, names: frozenset[str]) -> tuple[str, ...]:
    """A note that names them; none where there are none."""
    if not names:
        return ()
    shown = [
        f"{name or 'the model itself'} ({type(module.get_submodule(name)).__name__})"
        for name in sorted(names)
    ]
    more = f" and {len(shown) - 3} more" if len(shown) > 3 else ""
    return (f"ask self.training, so their train mode is in no trace: {', '.join(shown[:3])}{more}",)


def answer_eval(module: Any, names: frozenset[str]) -> None:
    """Let these modules, but not their children, hear that they are in eval mode."""
    for name in names:
        module.get_submodule(name).training = False


def _watched(kind: type, name: str, asked: set[str]) -> Any:
    def look_up(self: Any, attribute: str) -> Any:
        if attribute == "training":
            asked.add(name)
        return super(watched, self).__getattribute__(attribute)

    space = {"__getattribute__": look_up, "__module__": kind.__module__}
    watched: Any = type(kind.__name__, (kind,), space)
    return watched
