"""Unneeded: how much of a call's time goes into what its outputs do not depend on."""

import time
from collections.abc import Callable
from typing import Any

from pytest_quant.machine import torch_api
from pytest_quant.measure.operator_macs import leaves_of, place_of
from pytest_quant.subject.batches import tensors_in


def unneeded_share(run: Callable[[], Any]) -> float:
    """Share of the time of a call, in [0, 1], that its outputs may do without: outside of PyTorch's
    operators, and in those whose results do not reach the outputs as tensors.

    More may be needed than is seen, such as a number that decides a branch; it is for a first look.

    Args:
        run: makes one call, and gives its outputs.
    """
    run()
    start = time.perf_counter()
    run()
    whole = time.perf_counter() - start
    operators = _Operators()
    with operators:
        outputs = run()
    needed = {place_of(tensor) for tensor in tensors_in(outputs)}
    seconds = 0.0
    for given, made, own in reversed(operators.calls):
        if made & needed:
            needed -= made - given  # what lay there before was another tensor
            needed |= given
            seconds += own
    return max(0.0, 1 - seconds / whole) if whole else 0.0


class _Operators(torch_api.operator_mode()):  # type: ignore[misc]
    """While entered, notes of each operator where its tensors lie, before and after, and its seconds.

    Attributes:
        calls: in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[set[int], set[int], float]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        start = time.perf_counter()
        output = func(*args, **(kwargs or {}))
        own = time.perf_counter() - start
        given = {place_of(each) for each in tensors_in(leaves_of((args, kwargs or {})))}
        made = {place_of(each) for each in tensors_in(leaves_of(output))}
        self.calls.append((given, made, own))
        return output
