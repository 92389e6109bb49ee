"""Extreme samples: a few calibration samples, far out of the rest's range, that set the ranges of all."""

import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pytest_quant.explain.lost.noise import decibels
from pytest_quant.explain.lost.simulate import loaders_of, simulated, simulation_on, tuned_inputs
from pytest_quant.explain.lost.telling_samples import probe_of
from pytest_quant.quantize.calibrate import calibration_source
from pytest_quant.subject.batches import each_batch, inputs_only, on_cpu, size_of
from pytest_quant.subject.samples import arrays_in, rows
from pytest_quant.variant.variant import Variant

FAR = 4.0  # times the usual peak: two bits of the range are spent on nothing else
USUAL = 0.9  # the share of samples whose peaks are usual
FEW = 0.05  # of the samples; more of them are another kind of data
SECONDS = 10.0  # for reading the eval data
WORTH = 3.0  # dB that are won without them, from which on they are the cause
NAMED = 4  # samples in the sentence


@dataclass(frozen=True, slots=True)
class Extremes:
    """A few samples that cost more than the rest.

    Args:
        fixture: whose samples they are.
        count: how many.
        places: of these samples in the order of the data, from 0; empty where each pass has another order.
        of: how many samples were looked at.
        peak: the largest absolute value among them.
        usual: the largest absolute value among the others.
        judged: the largest absolute value of the eval inputs, of as many as were read.
        sqnr: of the outputs as they are, and without these samples, in dB.
    """

    fixture: str
    count: int
    places: tuple[int, ...]
    of: int
    peak: float
    usual: float
    judged: float
    sqnr: tuple[float, float]

    @property
    def sentences(self) -> tuple[str, str]:
        """What is known, then what to do."""
        one, (before, after) = self.count == 1, map(round, self.sqnr)
        named = ", ".join(map(str, self.places[:NAMED])) + (", ..." if self.places[NAMED:] else "")
        where = f" (number{'' if one else 's'} {named}, counted from 0)" if named else ""
        reach, set_, them = ("reaches", "it sets", "it") if one else ("reach", "they set", "them")
        return (
            f"{self.count} of the {self.of} samples of {self.fixture}{where} {reach} {self.peak:.3g}, the "
            f"others {self.usual:.3g} and the eval inputs {self.judged:.3g} at most: {set_} the ranges of "
            f"all activations. Without {them} the outputs would keep {after} dB of SQNR, not {before}.",
            f"Look at {them}: correct {them}, or leave {them} out of {self.fixture}; then run again. Until "
            "then, no other remedy is searched for.",
        )


def extremes_of(variant: Variant) -> Extremes | None:
    """Those of the data that a variant was calibrated on, where a simulation without them is nearer to FP32
    by `WORTH` dB; None where there are none, eval inputs reach as far, or nothing can be simulated."""
    recipe, subject = variant.recipe, variant.subject
    if recipe is None or not variant.facts.is_calibrated:
        return None
    fixture, _ = calibration_source(subject)
    with variant.isolated(loaders_of(variant)):
        seen = _peaks(tuned_inputs(variant, recipe.calibration_samples))
    found = _far(seen)
    if not found.any():
        return None
    with variant.isolated(loaders_of(variant)):
        judged = _peaks(_eval_inputs(variant))
    if len(judged) == 0 or seen.shape[1:] != judged.shape[1:]:
        return None
    usual = seen[~found].max(axis=0)
    reached = seen[found].max(axis=0)
    worst = int(np.argmax(reached / np.where(usual > 0, usual, np.inf)))
    if judged[:, worst].max() > reached[worst] / FAR:
        return None
    before, after = simulated(variant), simulation_on(variant, _kept(variant, _most(seen)))
    if before is None or after is None:
        return None
    probe = probe_of(variant)
    sqnr = decibels(before.noise(probe)), decibels(after.noise(probe))
    if sqnr[0] is None or sqnr[1] is None or sqnr[1] < sqnr[0] + WORTH:
        return None
    with variant.isolated(loaders_of(variant)):
        _seed(variant.conditions.seed + 1)  # in which a loader that shuffles has another order
        again = _far(_peaks(tuned_inputs(variant, recipe.calibration_samples)))
    places = tuple(map(int, np.flatnonzero(found)))
    return Extremes(
        fixture,
        count=len(places),
        places=places if np.array_equal(found, again) else (),
        of=len(seen),
        peak=float(reached[worst]),
        usual=float(usual[worst]),
        judged=float(judged[:, worst].max()),
        sqnr=(sqnr[0], sqnr[1]),
    )


def _far(peaks: Any) -> Any:
    """Which samples have a peak far from the rest's, [samples]; none where they are too many."""
    if len(peaks) == 0:
        return np.zeros(0, dtype=bool)
    far = np.asarray((peaks > _most(peaks)).any(axis=1))
    return far if far.sum() <= max(1, FEW * len(far)) else np.zeros_like(far)


def _most(peaks: Any) -> Any:
    """The largest peak that is not far from the rest's, [inputs]."""
    return FAR * np.quantile(peaks, USUAL, axis=0)


def _peaks(batches: Iterable[Any]) -> Any:
    """The largest absolute value of each sample in each floating point input, [samples, inputs]."""
    found = []
    for inputs in batches:
        count = size_of(inputs)
        tensors = [t for t in arrays_in(inputs) if _is_of_samples(t, count)]
        if tensors:
            found.append(np.stack([_of_each(tensor) for tensor in tensors], axis=1))
    widths = {part.shape[1] for part in found}
    return np.concatenate(found) if len(widths) == 1 else np.zeros((0, 0))


def _is_of_samples(tensor: Any, count: int) -> bool:
    floats = getattr(tensor, "is_floating_point", lambda: False)()
    return bool(floats and tensor.ndim and len(tensor) == count and tensor.numel())


def _of_each(tensor: Any) -> Any:
    return (
        tensor.detach().abs().flatten(1).amax(1).numpy() if tensor.ndim > 1 else abs(tensor.numpy())
    )


def _seed(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def _eval_inputs(variant: Variant) -> Iterator[Any]:
    """All of them, or as many as can be read in `SECONDS`."""
    subject, end = variant.subject, time.perf_counter() + SECONDS
    for batch in each_batch(subject.eval_data, "quant_eval_data", subject.batch):
        inputs = on_cpu(inputs_only(batch, "quant_eval_data", subject.batch))
        yield inputs
        if time.perf_counter() > end:
            return


def _kept(variant: Variant, most: Any) -> Iterator[Any]:
    """The calibration inputs without the samples whose peaks are above `most`, [inputs]."""
    samples = variant.recipe.calibration_samples if variant.recipe else 0
    for inputs in tuned_inputs(variant, samples):
        count, is_far = size_of(inputs), (_peaks([inputs]) > most).any(axis=1)
        if not is_far.all():
            yield rows(inputs, np.flatnonzero(~is_far).tolist(), count)
