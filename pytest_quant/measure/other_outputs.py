"""Other outputs: a file that gives a function of what its model gives, such as its softmax."""

import math
from collections.abc import Callable, Iterator
from typing import Any

from pytest_quant.errors import QuantStageError
from pytest_quant.runtimes.artefact import Artefact
from pytest_quant.subject.batches import call, mapped, tensors_in
from pytest_quant.variant.sqnr import sqnr
from pytest_quant.variant.variant import Variant

CLEARLY = 10.0  # dB; so much nearer, and so near, is no accident
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
    return [tensor for tensor in tensors_in(outputs) if tensor.is_floating_point()]


def _other(variant: Variant) -> str | None:
    try:
        with variant.isolated():
            expected, own = outputs_for(variant.fp32), outputs_for(variant)
    except (QuantStageError, RuntimeError, ValueError, TypeError):  # which its evaluation will tell
        return None
    if not expected or [t.shape for t in own] != [t.shape for t in expected]:
        return None
    plain = sqnr(expected, own)
    found = max(_forms(expected, own), key=lambda each: each[0], default=(-math.inf, ""))
    nearer, what = found
    return what if nearer >= max(plain, 0.0) + CLEARLY else None


def _forms(expected: list[Any], own: list[Any]) -> Iterator[tuple[float, str]]:
    """How near the outputs are once a form is given to one side, and what that says."""
    for name, form in _named_forms().items():
        if all((tensor.ndim >= 2 and tensor.shape[1] > 1) or name == "sigmoid" for tensor in own):
            given = [form(each) for each in expected]
            yield sqnr(given, own), f"the {name} of what the model gives"
            yield (
                sqnr(expected, [form(each) for each in own]),
                f"what the model gives without its {name}",
            )
    factor = _factor(expected, own)
    if factor is not None and not 0.8 < factor < 1.25:
        scaled = [tensor / factor for tensor in own]
        yield sqnr(expected, scaled), f"{factor:.3g} times what the model gives"


def _named_forms() -> dict[str, Change]:
    import torch

    return {
        "softmax": lambda tensor: torch.softmax(tensor, 1),
        "log-softmax": lambda tensor: torch.log_softmax(tensor, 1),
        "sigmoid": torch.sigmoid,
    }


def _factor(expected: list[Any], own: list[Any]) -> float | None:
    """By how much all outputs are larger, by least squares; None where they are nothing."""
    import torch

    left = torch.cat([tensor.double().flatten() for tensor in expected])
    right = torch.cat([tensor.double().flatten() for tensor in own])
    whole = float(left @ left)
    factor = float(left @ right) / whole if whole else 0.0
    return factor if math.isfinite(factor) and factor else None
