"""Scoring: a metric applied to a batch or gathered over a pass; what it gives is checked here."""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.subject.logits import as_tensor
from pytest_quant.subject.metrics import Metric
from pytest_quant.subject.samples import rebuilt

OF_A_BATCH = (
    "what a single batch may leave undefined, as an AUC where all are of one class, is for an object with "
    "update, compute and reset, which sees them all"
)


def score(metric: Metric, outputs: Any, targets: Any, size: int) -> Any:
    """One batch's scores by a function metric: float64 of shape [size], or a float (the mean).

    NaN is the score of a sample of which nothing counts. The metric gets copies, so that what it writes
    into them reaches nobody else. For an accumulator the call is tried on a copy and None returned.

    Raises:
        QuantStageError: when the metric raises, or returns NaN, an infinity or something else than
            scores.
    """
    import numpy
    import torch

    if metric.is_accumulator:
        trial = fresh(metric)
        gather(metric, trial, outputs, targets)
        computed(metric, trial)
        return None
    if metric.is_ours:
        targets = as_tensor(targets)
    with _naming(metric):
        given = metric.fn(own(outputs), own(targets))
    is_array = not isinstance(given, torch.Tensor) and hasattr(given, "shape") and given.shape
    if is_array or (isinstance(given, list | tuple) and len(given) == size):
        given = _as_scores(metric, given)
    if isinstance(given, torch.Tensor) and given.ndim:
        if given.shape != (size,):
            raise QuantStageError(
                "evaluate",
                f"metric {metric.name} returned shape {list(given.shape)} for a batch of "
                f"{size}; expected one score for each sample, shape [{size}], or one number.",
            )
        scores = given.detach().double().cpu().numpy()
        counted = numpy.ones(size, dtype=bool)
        if metric.is_ours:
            counted = ~metric.fn.uncounted(targets).cpu().numpy()
        strange = scores[counted & ~numpy.isfinite(scores)]
        if len(strange):
            raise QuantStageError(
                "evaluate", f"metric {metric.name} returned {_no_number(strange[0])} for a sample."
            )
        return scores
    return as_number(metric, given, f" for a batch of {size}; {OF_A_BATCH}")


def _as_scores(metric: Metric, given: Any) -> Any:
    """A list, an array or a column of a table as a tensor."""
    import numpy
    import torch

    try:
        return torch.as_tensor(given if isinstance(given, list | tuple) else numpy.asarray(given))
    except (TypeError, ValueError, RuntimeError):
        raise QuantStageError(
            "evaluate",
            f"metric {metric.name} returned a {type(given).__name__} of other things than numbers; "
            "expected a number, or a tensor with one score for each sample.",
        ) from None


def own(value: Any) -> Any:
    """The same nest with tensors and arrays of its own."""
    return rebuilt(value, lambda leaf: leaf.clone() if hasattr(leaf, "clone") else leaf.copy())


def fresh(metric: Metric) -> Any:
    """An accumulator's own copy, which has seen nothing."""
    with _naming(metric):
        accumulator = copy.deepcopy(metric.fn)
        accumulator.reset()
        return accumulator


def gather(metric: Metric, accumulator: Any, outputs: Any, targets: Any) -> None:
    """Let an accumulator see one more batch."""
    with _naming(metric):
        accumulator.update(own(outputs), own(targets))


def computed(metric: Metric, accumulator: Any) -> float:
    """What an accumulator makes of all batches that it saw."""
    with _naming(metric):
        given = accumulator.compute()
    return as_number(metric, given)


def as_number(metric: Metric, given: Any, more: str = "") -> float:
    """A metric's single number, refused when it is none, NaN or infinite; then with what is said more."""
    try:
        if isinstance(given, str | bytes) or given is None:
            raise TypeError
        number = float(given)
    except (TypeError, ValueError, RuntimeError):
        raise QuantStageError(
            "evaluate",
            f"metric {metric.name} returned {given!r}; expected a number, or a tensor "
            "with one score for each sample.",
        ) from None
    if not math.isfinite(number):
        said = f"metric {metric.name} returned {_no_number(number)}{more}."
        raise QuantStageError("evaluate", said)
    return number


@contextmanager
def _naming(metric: Metric) -> Iterator[None]:
    """In which an error from inside a metric becomes a sentence that names it."""
    try:
        yield
    except QuantStageError:
        raise
    except Exception as error:
        raise QuantStageError(
            "evaluate", f"metric {metric.name} raised: {in_brief(error)}"
        ) from error


def _no_number(value: float) -> str:
    return "NaN" if value != value else "an infinity"
