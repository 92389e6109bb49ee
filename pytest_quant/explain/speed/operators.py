"""Operators: what PyTorch spends the time of one model's calls on, as its profiler sees it."""

import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from pytest_quant.errors import QuantStageError
from pytest_quant.machine import torch_api

MOST_CALLS = 5
MOST_SECONDS = 1.0  # of profiled calls; one is made in any case
DISTORTED = 1.5  # times as long under the profiler
LOG_LEVEL = "KINETO_LOG_LEVEL"
CALL = "pytest-quant: one call"
UNNAMED = "Python"  # what is in none of PyTorch's operators
CONVERSIONS = ("float to int8", "int8 to float")
RECURRENT = "recurrent"
# A name of an operator, in whatever namespace -> what it does; the first that fits.
_DOES = (
    (r"attention|transformer_encoder|rescale_qkv", "attention"),
    (r"lstm|gru|rnn", RECURRENT),
    (r"conv(?!ert)", "convolution"),
    (r"linear|addmm|(^|_)b?mm|matmul|einsum", "linear"),
    (r"pool", "pooling"),
    (r"_norm", "normalization"),
)
_INT8 = r"^(quantized|onednn::q|fbgemm)|quantized_|int8pack|int_mm"


@dataclass(frozen=True, slots=True)
class Operator:
    """One of PyTorch's operators in the calls of one model.

    Args:
        name: as the profiler has it, ``quantized::conv2d_relu``.
        does: in words, ``int8 convolution``; empty where there is little to say.
        calls: in one call of the model.
        ms: that it takes in one call of the model, without the operators that it calls, which those inside
            a recurrent layer are not told apart from: its share of what a call takes without the profiler.
        share: of the time of one call under the profiler, in [0, 1].
    """

    name: str
    does: str
    calls: float
    ms: float
    share: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Profile:
    """Where the time of a model's calls goes.

    Args:
        ms: of one call, without the profiler.
        profiled_ms: of one call under the profiler, of which the operators' times are parts.
        calls: that were profiled, of which this is the quickest.
        operators: those with most time first.
        counted: calls of operators in one call of the model, inside recurrent layers too.
    """

    ms: float
    profiled_ms: float
    calls: int
    operators: tuple[Operator, ...]
    counted: float

    @property
    def is_distorted(self) -> bool:
        """Whether the profiler itself took so much time that shares say little."""
        return self.profiled_ms > DISTORTED * self.ms

    def taking(self, ms: float) -> "Profile":
        """The same shares of another time of one call."""
        own = tuple(replace(each, ms=ms * each.share) for each in self.operators)
        return replace(self, ms=ms, operators=own)

    def share_of(self, *does: str) -> float:
        """Share of the time in operators that do one of these, in [0, 1]."""
        return sum(each.share for each in self.operators if each.does in does)


def profiled(
    call: Callable[[], Any], context: Callable[[], AbstractContextManager[None]]
) -> Profile:
    """The operators of the quickest of some calls, after a warm-up; each call has a profile of its own.

    The quickest, since one call that had to wait for the machine would make a small operator the largest.

    Args:
        call: one call of the model.
        context: in which it runs as it was built.

    Raises:
        QuantStageError: while another profiler runs, which this one would end.
    """
    import torch

    autograd: Any = torch.autograd
    if torch_api.profiler_runs():
        raise QuantStageError("explain", "another profiler is running, and there can be but one")

    def profile() -> Any:
        with autograd.profiler.profile() as profiler, autograd.profiler.record_function(CALL):
            call()
        return profiler.function_events

    with context(), _quietly():
        call()
        ms = 1e3 * min(seconds for seconds, _ in _repeated(call))
        profiles = [events for _, events in _repeated(profile)]
    events = min(profiles, key=_whole)
    whole = _whole(events)
    own, times = Counter[str](), Counter[str]()
    for event in events:
        who = _told_as(event)
        own[who.name] += event.self_cpu_time_total
        times[who.name] += who is event
    found = [
        Operator(
            UNNAMED if name == CALL else name, does(name), times[name], ms * us / whole, us / whole
        )
        for name, us in own.most_common()
        if us > 0
    ]
    return Profile(ms, whole / 1e3, len(profiles), tuple(found), len(events))


def _told_as(event: Any) -> Any:
    """The outermost recurrent layer that an operator is a step of; else the operator itself."""
    found, outer = event, event
    while outer is not None:
        if does(outer.name).endswith(RECURRENT):
            found = outer
        outer = outer.cpu_parent
    return found


def does(name: str) -> str:
    """What an operator does, in words, from its name."""
    if name.startswith("## Call Compiled"):  # inductor's, between the kernels that it calls
        return "compiled loops"
    bare = name.split("::")[-1].lower()
    if "dequantize" in bare:
        return CONVERSIONS[1]
    if re.match(r"_?(fake_)?quantize_per|_?choose_qparams", bare):
        return CONVERSIONS[0]
    kind = next((word for pattern, word in _DOES if re.search(pattern, bare)), "")
    if re.search(_INT8, name):
        return f"int8 {kind or 'other'}"
    return f"float {kind}" if kind else ""


def by_work(operators: Iterable[Operator]) -> dict[str, list[Operator]]:
    """What operators do -> those that do it; one of which little is known goes by its own name."""
    found: dict[str, list[Operator]] = {}
    for operator in operators:
        found.setdefault(operator.does or operator.name.removeprefix("aten::"), []).append(operator)
    return found


def largest_of(group: Sequence[Operator]) -> str:
    """The first operator of a group, and how often all of it are called; empty for one by its own name."""
    if not group or not group[0].does:
        return ""
    others = ", ..." if len(group) > 1 else ""
    return f"{group[0].name.removeprefix('aten::')}{others} x{sum(each.calls for each in group):g}"


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the lines that PyTorch's profiler writes to stderr where there is no GPU.

    It asks for the level once in a process.
    """
    set_by_user = LOG_LEVEL in os.environ
    if not set_by_user:
        os.environ[LOG_LEVEL] = "99"
    try:
        yield
    finally:
        if not set_by_user:
            del os.environ[LOG_LEVEL]


def _repeated(run: Callable[[], Any]) -> list[tuple[float, Any]]:
    """Seconds and result of each of some runs."""
    found: list[tuple[float, Any]] = []
    while len(found) < MOST_CALLS and sum(seconds for seconds, _ in found) < MOST_SECONDS:
        start = time.perf_counter()
        result = run()
        found.append((time.perf_counter() - start, result))
    return found


def _whole(events: Any) -> float:
    """Microseconds of the profiled call, all that it calls included."""
    return float(sum(event.cpu_time_total for event in events if event.key == CALL))
