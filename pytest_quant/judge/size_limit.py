"""Size limit, and that of the int8 share: exact, without statistics."""

from fractions import Fraction

from pytest_quant.errors import QuantStageError, listed
from pytest_quant.judge.honesty import refusal, why_refused
from pytest_quant.judge.verdict import Outcome, Verdict
from pytest_quant.measure.narrower import is_narrow, tensors_held
from pytest_quant.measure.one_call import one_call
from pytest_quant.variant.measurements import MB
from pytest_quant.variant.variant import Variant

RATIO, ABSOLUTE, SHARE = "max_size_ratio", "max_size_mb", "min_int8_share"


def judge_size(variant: Variant, *, ratio: float | None = None, mb: float | None = None) -> Verdict:
    """Whether the tensors that the variant needs are small enough, against FP32's or in MB.

    Raises:
        QuantStageError: when the size cannot be known.
    """
    gate, limit = (RATIO, ratio) if ratio is not None else (ABSOLUTE, mb)
    assert limit is not None  # the helper has seen to it
    if reason := why_refused(variant):
        return refusal(gate, "size", variant, limit, reason)
    own, fp32 = variant.size.tensor_bytes, variant.fp32.size.tensor_bytes
    if not fp32:
        raise QuantStageError("size", "FP32 has no tensors at all, so its size says nothing")
    exact = Fraction(own, fp32) if ratio is not None else Fraction(own, MB)
    outcome = Outcome.PASS if exact <= Fraction(str(limit)) else Outcome.FAIL
    share = f"{own / fp32:.3f} of FP32's {fp32 / MB:.2f} MB"
    allowed = f"{limit:g} of FP32's" if ratio is not None else f"{limit:g} MB"
    return Verdict.on(
        variant,
        gate,
        "size",
        outcome,
        f"{variant.name} needs {own / MB:.2f} MB, {share}, allowed {allowed}",
        limit=limit,
        observed=float(exact),
        evidence={"bytes": own, "fp32_bytes": fp32},
    )


def _form(variant: Variant) -> str:
    """What the small tensors of a variant are: float16, where none holds integers."""
    import torch

    if not isinstance(variant.model, torch.nn.Module):
        return "int8"
    small = [tensor for tensor in tensors_held(variant.model) if is_narrow(tensor)]
    if not small or not all(tensor.is_floating_point() for tensor in small):
        return "int8"
    return " or ".join(sorted({str(tensor.dtype).removeprefix("torch.") for tensor in small}))


def _of_a_list(variant: Variant) -> str:
    """A remedy, where FP32 has layers that it does not register."""
    if not one_call(variant).apart:
        return ""
    return ", which has layers in a plain list or dict; put them into torch.nn.ModuleList or ModuleDict"


def judge_int8_share(variant: Variant, share: float, *, of: str = "parameters") -> Verdict:
    """Whether at least `share` of the parameters, or of the multiply-adds, became int8.

    Raises:
        ValueError: for another `of`.
        QuantStageError: when the share cannot be known.
    """
    if of not in ("parameters", "macs"):
        raise ValueError(f"of is {of!r}; allowed: 'parameters', 'macs'")
    if reason := why_refused(variant):
        return refusal(SHARE, "int8 share", variant, share, reason)
    measured = variant.int8_share
    value = measured.parameters if of == "parameters" else measured.macs
    if value is None:
        raise QuantStageError(
            "size",
            f"the int8 share of {variant.name}'s {of} is unknown: its modules cannot be mapped "
            f"to FP32's{_of_a_list(variant)}",
        )
    outcome = Outcome.PASS if value >= share else Outcome.FAIL
    words = "parameters" if of == "parameters" else "multiply-adds"
    stayed = listed(measured.stayed, 5)
    left = f"; stayed FP32: {stayed}" if stayed and outcome is Outcome.FAIL else ""
    return Verdict.on(
        variant,
        SHARE,
        "int8 share",
        outcome,
        f"{100 * value:.2f} % of {variant.name}'s {words} became {_form(variant)}, required "
        f"{100 * share:g} %{left}",
        limit=share,
        observed=value,
        evidence={"of": of, "stayed_fp32": list(measured.stayed_fp32)},
    )
