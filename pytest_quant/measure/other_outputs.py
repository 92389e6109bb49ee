"""Other outputs: a file that gives a function of what its model gives, such as its softmax."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from pytest_quant.errors import QuantStageError
from pytest_quant.runtimes.artefact import Artefact
from pytest_quant.subject.batches import call, mapped
from pytest_quant.subject.output_numbers import floats_in
from pytest_quant.variant.sqnr import sqnr
from pytest_quant.variant.variant import Variant

CLEARLY = 10.0  # dB; so much nearer, and so near, is no accident
ALIKE = 3.0  # dB
FAR = 6.0  # dB; so that half of an output is something else
SAMPLES = 64

Change = Callable[[Any], Any]


def other_outputs(variant: Variant) -> str | None:
    """What a file gives instead of what its model gives, in half a sentence; None where it is the same.

    Classes stay the same under a softmax or another scale, so that no metric of classes sees it; what
    takes the outputs as probabilities, or compares them with a threshold, does.
    """
    if not isinstance(variant.model, Artefact):
        return None
    return variant.once("other outputs", lambda: _other(variant))


def outputs_for(variant: Variant, change: Change = lambda tensor: tensor) -> list[Any]:
    """A variant's outputs of floats for the first samples of the first batch.

    Args:
        change: of each tensor of the inputs.
    """
    inputs = mapped(variant.admitted.first_inputs, lambda t: change(t[:SAMPLES] if t.ndim else t))
    with variant.running():
        outputs = call(variant.model, inputs, variant.subject.forward)
    return list(floats_in(outputs))


def _other(variant: Variant) -> str | None:
    try:
        with variant.isolated():
            expected, own = outputs_for(variant.fp32), outputs_for(variant)
    except (QuantStageError, RuntimeError, ValueError, TypeError):  # which its evaluation will tell
        return None
    if not expected or [t.shape for t in own] != [t.shape for t in expected]:
        return None
    return _what_else(expected, own)


def _what_else(expected: list[Any], own: list[Any]) -> str | None:
    for number, (fp32, file) in enumerate(zip(expected, own, strict=True)):
        plain = sqnr(fp32, file)
        forms = (form for form in _forms(fp32, file, plain) if _vary_alike(form.expected, form.own))
        best = max(forms, key=lambda form: form.nearness, default=None)
        if best is not None and best.nearness >= max(plain, 0.0) + CLEARLY:
            which = f", as number {number + 1} of its {len(own)} outputs" if len(own) > 1 else ""
            return best.what + which
    return None


@dataclass(frozen=True, slots=True)
class _Form:
    """An output of FP32's and of the file, one of which was given another form.

    Args:
        what: that says of the file.
    """

    expected: Any
    own: Any
    what: str

    @property
    def nearness(self) -> float:
        """In dB."""
        return sqnr(self.expected, self.own)


def _forms(expected: Any, own: Any, plain: float) -> Iterator[_Form]:
    """What an output may be instead.

    Args:
        plain: how near it is to FP32's as it is.
    """
    for name, form in _forms_for(own):
        yield _Form(form(expected), own, f"the {name} of what the model gives")
        yield _Form(expected, form(own), f"what the model gives without its {name}")
    for axis in _axes(own):
        yield _Form(_hard(expected, axis), own, "1 for the class and 0 for all others")
    factor = _factor(expected, own)
    if factor is not None and not 0.8 < factor < 1.25:
        yield _Form(expected, own / factor, f"{factor:.3g} times what the model gives")
    slope, offset = _line(expected, own)
    if slope and plain < FAR:  # nearer ones may be rounded so
        what = f"{slope:.3g} times what the model gives, and {offset:.3g} more"
        yield _Form(expected, (own - offset) / slope, what)


def _vary_alike(expected: Any, own: Any) -> bool:
    """Whether what differs from sample to sample is alike, not only what all have: the softmax of whatever
    is small is nearly the same for all classes."""
    return sqnr(expected - expected.mean(), own - own.mean()) >= ALIKE


def _forms_for(output: Any) -> Iterator[tuple[str, Change]]:
    import torch

    for axis in _axes(output):
        yield "softmax", partial(torch.softmax, dim=axis)
        yield "log-softmax", partial(torch.log_softmax, dim=axis)
    yield "sigmoid", torch.sigmoid


def _axes(output: Any) -> list[int]:
    """Those of classes: the second size, and of texts the last."""
    last = output.ndim - 1
    return [axis for axis in sorted({1, last}) if 0 < axis <= last and output.shape[axis] > 1]


def _hard(output: Any, axis: int) -> Any:
    """1 for the class that is the largest, 0 for all others."""
    import torch

    largest = output.argmax(axis, keepdim=True)
    return torch.zeros_like(output).scatter(axis, largest, 1.0)


def _factor(expected: Any, own: Any) -> float | None:
    """By how much all values are larger, by least squares; None where they are nothing."""
    left, right = expected.double().flatten(), own.double().flatten()
    whole = float(left @ left)
    factor = float(left @ right) / whole if whole else 0.0
    return factor if math.isfinite(factor) and factor else None


def _line(expected: Any, own: Any) -> tuple[float, float]:
    """The same, with what all values have more; 0.0 where they have nothing to do with each other."""
    left, right = expected.double().flatten(), own.double().flatten()
    if not left.numel():
        return 0.0, 0.0
    factor = _factor(left - left.mean(), right - right.mean()) or 0.0
    offset = float(right.mean() - factor * left.mean())
    return (factor, offset) if math.isfinite(offset) else (0.0, 0.0)
