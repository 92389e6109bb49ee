"""Batch mates: how much a sample's outputs depend on the samples that share its batch."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.quantize.faithful import EQUAL
from pytest_quant.subject.batches import call, size_of
from pytest_quant.subject.output_numbers import numbers_in
from pytest_quant.subject.samples import rows
from pytest_quant.subject.subject import Admitted
from pytest_quant.variant.facts import Facts, Ranges
from pytest_quant.variant.recipe import Recipe
from pytest_quant.variant.running import running_as_built
from pytest_quant.variant.sqnr import sqnr

SAMPLES = 8  # of the first batch that are run alone
OF_ONE_SIZE = 2  # of these, where a model takes batches of one size only
APART = 20.0  # dB: rounding alone keeps more
GROSS = 10.0  # dB: no longer the same outputs
REMEDY = (
    "leave out what is computed over the batch, as by a BatchNorm that is in train mode or has no running "
    "statistics"
)


def told_of_mates(made: Any, admitted: Admitted, recipe: Recipe, facts: Facts) -> tuple[str, ...]:
    """A note, where ranges are found at each call and a batch's largest sample costs the others a lot.

    Each tensor of a batch has one range, so that beside a sample of a thousand times the size all
    others round to zero.
    """
    size = size_of(admitted.first_inputs)
    if facts.ranges is not Ranges.AT_EACH_CALL or size < 2:
        return ()
    alone = _alone(size)
    try:
        with torch.inference_mode():
            fp32 = _Parted.of(admitted.module, admitted, alone)
        with running_as_built(made, recipe, facts):
            own = _Parted.of(made, admitted, alone)
    except Exception:  # a model that takes whole batches only
        return ()
    if fp32 is None or own is None or fp32.worst < EQUAL or own.worst >= APART:
        return ()
    return (
        f"a sample's outputs depend on who shares its batch, in which all have one range: {_of(alone)}, "
        f"run alone and together, the outputs agree to {own.worst:.0f} dB at worst; look for outliers in "
        "the data, or use static",
    )


def refuse_mates(made: Any, admitted: Admitted, recipe: Recipe, facts: Facts) -> tuple[str, ...]:
    """Refuse what a user's build made where samples are right in their batch and wrong without it, as with
    a BatchNorm that takes the statistics of the batch.

    Of what takes batches of one size only, a sample is run beside copies of itself.

    Returns:
        A note where it depends on its batch a little, or where FP32 does.

    Raises:
        QuantStageError: it cannot run on one sample, or answers another way, and FP32 does neither.
    """
    size = size_of(admitted.first_inputs)
    if size < 2:
        return ()

    def parted(model: Any, groups: Sequence[list[int]]) -> "_Parted | None":
        if model is not made:
            with torch.inference_mode():
                return _Parted.of(model, admitted, groups)
        with running_as_built(made, recipe, facts):
            return _Parted.of(made, admitted, groups)

    groups, how = _alone(size), "run alone and together"
    try:
        fp32 = parted(admitted.module, groups)
        own = _of_any_size(lambda groups: parted(made, groups), groups, size)
    except QuantStageError:
        raise
    except Exception:  # a model that takes batches of one size only
        groups = [group * size for group in groups[:OF_ONE_SIZE]]
        how = "run beside copies of themselves and beside others"
        try:
            fp32, own = parted(admitted.module, groups), parted(made, groups)
        except Exception:  # no batch but the first one
            return ()
    if fp32 is None or own is None:
        return ()
    if [t.shape for t in fp32.raw] != [t.shape for t in own.raw] or _is_broken(fp32.raw, own.raw):
        return ()  # other outputs cannot be compared; what is not finite is told by the gates
    if fp32.whole < EQUAL:
        return (
            f"FP32's own outputs depend on who shares a sample's batch: {_of(groups)}, {how}, they agree "
            f"to {fp32.whole:.0f} dB",
        )
    found = f"{_of(groups)}, {how}, the outputs agree to"
    # one range for all of a batch makes samples worse in it, which the metric sees
    if own.whole < GROSS and sqnr(fp32.alone, own.alone) < sqnr(fp32.alone, own.together):
        raise QuantStageError(
            "convert",
            f"the recipe's build made what answers a sample by who shares its batch: {found} "
            f"{own.whole:.0f} dB, while FP32's stay as they are; {REMEDY}.",
        )
    if own.worst >= APART:
        return ()
    return (
        f"a sample's outputs depend on who shares its batch: {found} {own.worst:.0f} dB at worst",
    )


def _of_any_size(
    parted: Callable[[Sequence[list[int]]], "_Parted | None"], groups: list[list[int]], size: int
) -> "_Parted | None":
    """What a variant makes of single samples, which FP32 takes; refused where it takes some and not one."""
    try:
        return parted(groups)
    except Exception as error:
        parted([[0, 1] if size > 2 else [0, 1, 0]])  # else it takes batches of one size only
        raise QuantStageError(
            "convert",
            "the recipe's build made what cannot run on one sample alone, as FP32 can: "
            f"{in_brief(error)}; {REMEDY}.",
        ) from error


@dataclass(frozen=True, slots=True)
class _Parted:
    """Outputs of some samples with other mates than in their batch, and in it: tensors of one row.

    Args:
        raw: those in it as they are; the others have zeros where both are alike and no finite number.
        whole, worst: how far they agree, of all and of the sample where they do least, in dB.
    """

    alone: list[Any]
    together: list[Any]
    raw: list[Any]
    whole: float
    worst: float

    @classmethod
    def of(cls, model: Any, admitted: Admitted, groups: Iterable[list[int]]) -> "_Parted | None":
        """Those of the first sample of each group; None for outputs that are not by sample."""
        inputs, own = admitted.first_inputs, admitted.subject.forward
        size = size_of(inputs)
        whole = list(numbers_in(call(model, inputs, own)))
        if not whole or not all(t.ndim and t.shape[0] == size for t in whole):
            return None
        pairs, raw = [], list[Any]()
        for group in groups:
            parts = list(numbers_in(call(model, rows(inputs, group, size), own)))
            mates = [tensor[group[0] : group[0] + 1] for tensor in whole]
            if [part[:1].shape for part in parts] != [mate.shape for mate in mates]:
                return None  # the size of another axis happens to be that of the batch
            raw += mates
            pairs.append(_finite([part[:1] for part in parts], mates))
        alone = [tensor for parts, _ in pairs for tensor in parts]
        together = [tensor for _, parts in pairs for tensor in parts]
        return cls(alone, together, raw, sqnr(alone, together), min(sqnr(*pair) for pair in pairs))


def _finite(some: list[Any], others: list[Any]) -> tuple[list[Any], list[Any]]:
    """Both with zeros where they are alike and no finite number, as masked scores are."""
    alike = [
        ((a == b) | (a.isnan() & b.isnan())) & ~a.isfinite()
        for a, b in zip(some, others, strict=True)
    ]
    return tuple(  # type: ignore[return-value]
        [t.masked_fill(mask, 0) for t, mask in zip(side, alike, strict=True)]
        for side in (some, others)
    )


def _is_broken(fp32: list[Any], own: list[Any]) -> bool:
    """Whether outputs are no finite numbers where FP32's are."""
    pairs = zip(fp32, own, strict=True)
    return any(bool((one.isfinite() & ~other.isfinite()).any()) for one, other in pairs)


def _alone(size: int) -> list[list[int]]:
    return [[place] for place in range(0, size, max(1, size // SAMPLES))]


def _of(groups: Sequence[list[int]]) -> str:
    return f"of {len(groups)} samples of the first batch"
