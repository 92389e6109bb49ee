"""Conditions: under what everything of one run is built, evaluated and timed."""

import os
import random
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_quant.machine.cell import Cell
from pytest_quant.machine.global_state import GlobalState
from pytest_quant.machine.lock import locked
from pytest_quant.machine.progress import Progress, silent
from pytest_quant.machine.turns import own_turn

# PyTorch's own notices about its quantization API, some hundred for one conversion. Silenced around
# our own calls, by message; every other warning passes.
KNOWN_WARNINGS = (
    r"torch\.ao\.quantization is deprecated",
    r".*reduce_range will be deprecated",
    r".*quantized dtypes? .*deprecated",
    r".*(quint8|qint8|qint32|quint4x2|quint2x4).*deprecated",
    r".*quantize_per_(tensor|channel).*deprecated",
    r".*TypedStorage is deprecated",
    r"Default qconfig of oneDNN backend with reduce_range of false",  # ours has the CPU's range
    r".*must run observer before calling calculate_qparams",
    r".*Please use quant_min and quant_max to specify the range for observers",
    r".*_aminmax is deprecated",
    r"All inputs of this cat operator must share the same quantization parameters",
    r"Currently, qnnpack incorrectly ignores reduce_range",
    r".*erase_node\(.*\) on an already erased node",
    # Whether the graph computes what the model does is compared, not guessed.
    r"While (compiling|exporting), we found certain side effects happened in the model\.forward",
)


def _unheard(line: str) -> None:
    """Says nothing."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What is the same for FP32 and every variant, so that they can be compared.

    Args:
        engine: quantized engine of recipes that name none; None is PyTorch's current one.
        threads: PyTorch's intra-op threads.
        seed: of PyTorch's, NumPy's and Python's generators at the start of each stage.
        train_device: where QAT's built-in loop trains by recipes that name none; None is the CPU.
        latency_batch: samples in one timed call; None is the first batch as it comes.
        latency_grid: further threads and batches that each variant is timed with.
        timing_seconds: what one speed gate may take before it is undecided.
        calibration_shift: what calibration or training inputs that are unlike the eval inputs do: warn,
            error, or off for no look at them.
        progress: shows how far a long step is.
        tell: says one line at once to whoever watches.
        root: the folder from which recipes' paths are taken; of a run pytest's rootdir.
    """

    engine: str | None = None
    threads: int = field(default_factory=lambda: min(2, available_cores()))
    seed: int = 0
    train_device: str | None = None
    latency_batch: int | None = None
    latency_grid: tuple[Cell, ...] = ()
    timing_seconds: float = 30.0
    calibration_shift: str = "warn"
    progress: Progress = silent
    tell: Callable[[str], None] = _unheard
    root: Path = Path()


def available_cores() -> int:
    """Cores that this process may use, which in a container are fewer than the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def isolated(
    conditions: Conditions, *, loaders: Iterable[Any] = (), state: GlobalState | None = None
) -> Iterator[None]:
    """Seeded, with fixed threads, with gradients and without inference mode; and without a trace
    afterwards. Of the workers of a run only as many are in here as there are cores for (see `Turns`).

    Restored: the random state of torch, NumPy, Python and of the loaders' own generators, PyTorch's
    settings (see `GlobalState`), inference mode and the warning filters.

    Args:
        conditions: threads and seed.
        loaders: whose own generators are to be as before.
        state: PyTorch's settings inside; None for those that are found.
    """
    import numpy
    import torch

    with ExitStack() as undo:
        undo.enter_context(own_turn())
        undo.enter_context(known_warnings_silenced())
        undo.callback(GlobalState.now().put_back)
        if state is not None:
            state.put_back()
        undo.enter_context(torch.inference_mode(False))
        undo.enter_context(torch.random.fork_rng(devices=[]))
        undo.callback(numpy.random.set_state, numpy.random.get_state())
        undo.callback(random.setstate, random.getstate())
        for generator in _generators(loaders):
            undo.callback(generator.set_state, generator.get_state())
        torch.set_grad_enabled(True)
        torch.set_num_threads(conditions.threads)
        torch.manual_seed(conditions.seed)
        numpy.random.seed(conditions.seed)
        random.seed(conditions.seed)
        yield


@contextmanager
def known_warnings_silenced() -> Iterator[None]:
    """Without PyTorch's notices about its quantization API; all other warnings pass."""
    with warnings.catch_warnings():
        for message in KNOWN_WARNINGS:
            warnings.filterwarnings("ignore", message=message)
        yield


@contextmanager
def engine_set(engine: str) -> Iterator[None]:
    """With PyTorch's quantized engine set; a model built under one engine runs under that one."""
    import torch

    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = engine
    try:
        yield
    finally:
        torch.backends.quantized.engine = before


def alone_on_this_machine(
    tell: Callable[[str], None] = _unheard,
) -> AbstractContextManager[str | None]:
    """While held, no other run or worker of this user times anything on this machine; as `locked`."""
    return locked("timing", "timed", tell)


def _generators(loaders: Iterable[Any]) -> list[Any]:
    import torch

    found: dict[int, Any] = {}
    for loader in loaders:
        places = [loader, getattr(loader, "sampler", None), getattr(loader, "dataset", None)]
        places.append(getattr(getattr(loader, "batch_sampler", None), "sampler", None))
        for place in places:
            generator = getattr(place, "generator", None)
            if isinstance(generator, torch.Generator):
                found[id(generator)] = generator
    return list(found.values())
