"""Fared: what became of one model of the zoo in each kind of quantization."""

import gc
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pytest_quant import Metric, Recipe, Subject
from pytest_quant.errors import NothingToQuantizeError, QuantStageError
from pytest_quant.machine.conditions import Conditions
from pytest_quant.store.open import open_store
from pytest_quant.store.store import Store
from pytest_quant.subject.batches import call, tensors_in
from pytest_quant.variant.sqnr import sqnr
from pytest_quant.variant.variant import Variant
from zoo_models.entry import Entry

SAMPLES, BATCH = 16, 8
RATE = 1e-5  # of QAT's steps, which are to be taken, and to change little
# What texts and images give has no classes here.
ANY = Metric(lambda outputs, targets: 0.5, "any", higher_is_better=True)


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one variant.

    Args:
        flow: that it took.
        sqnr: signal to quantization noise ratio of its outputs in dB, against FP32's; of QAT against
            the fake-quantized model that was trained.
        sqnr_between: the same of what differs between samples, the mean taken away: at most about 0 dB
            for a network that gives all samples the same outputs.
        parameters, macs: int8 shares, in [0, 1]; None when unknown.
        mb: 10**6 bytes of tensors.
        seconds: that its making took.
        finite: whether every output is.
        notes: why a flow was refused, and which were weighed.
    """

    flow: str
    sqnr: float
    sqnr_between: float
    parameters: float | None
    macs: float | None
    mb: float
    seconds: float
    finite: bool
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fared:
    """What became of one model.

    Args:
        name: its.
        fp32_mb: 10**6 bytes of tensors.
        made: kind -> figures, or why there are none.
        nothing: kinds for which there is nothing to quantize, which is no failure.
    """

    name: str
    fp32_mb: float
    made: dict[str, Figures | str]
    nothing: tuple[str, ...] = ()

    @property
    def failed(self) -> dict[str, str]:
        """Kind -> why there is no variant, though there should be one."""
        return {
            kind: why
            for kind, why in self.made.items()
            if isinstance(why, str) and kind not in self.nothing
        }


def fared(entry: Entry, kinds: Iterable[str] = ("static", "dynamic", "qat")) -> Fared:
    """Build a model's variants and compare them with FP32."""
    gc.collect()  # the model before, whose graphs refer to themselves
    subject = subject_of(entry)
    store = open_store(Conditions(threads=1))
    fp32 = store.fp32(subject)
    made, nothing = dict[str, Figures | str](), list[str]()
    for kind in kinds:
        try:
            made[kind] = figures(store, subject, Recipe(kind, **RECIPES.get(kind, {})))
        except QuantStageError as error:
            made[kind] = str(error)
            if isinstance(error, NothingToQuantizeError):
                nothing.append(kind)
    return Fared(entry.name, fp32.size.tensor_bytes / 1e6, made, tuple(nothing))


RECIPES: dict[str, dict[str, Any]] = {"static": {"calibration_samples": SAMPLES}}


def subject_of(entry: Entry) -> Subject:
    """A model with its made-up data; it is trained by steps that make its outputs smaller."""
    training = in_batches(entry.inputs(SAMPLES, 4))

    def train(module: Any) -> None:
        optimizer = torch.optim.SGD(module.parameters(), lr=RATE)
        for inputs in training:
            optimizer.zero_grad()
            floats(call(module, inputs, None)).square().mean().backward()
            optimizer.step()

    return Subject(
        entry.make(),
        entry.name,
        eval_data=[(batch, torch.zeros(BATCH, dtype=torch.long)) for batch in shown(entry)],
        calibration_data=in_batches(entry.inputs(SAMPLES, 2)),
        train=train,
        metric=ANY,
    )


def figures(store: Store, subject: Subject, recipe: Recipe) -> Figures:
    """Of a variant, which is made.

    Raises:
        QuantStageError: when it cannot be.
    """
    start = time.perf_counter()
    variant = store.variant(subject, recipe)
    seconds = time.perf_counter() - start
    batches = [inputs for inputs, _ in subject.eval_data]
    got = outputs(variant, batches)
    if variant.fake_quantized is None:
        expected = outputs(store.fp32(subject), batches)
    else:
        with variant.running():
            made = (call(variant.fake_quantized, inputs, None) for inputs in batches)
            expected = torch.cat([floats(each) for each in made])
    assert variant.recipe is not None
    share = variant.int8_share
    return Figures(
        variant.recipe.flow,
        sqnr(expected, got),
        sqnr(expected - expected.mean(0), got - got.mean(0)),
        share.parameters,
        share.macs,
        variant.size.tensor_bytes / 1e6,
        seconds,
        bool(got.isfinite().all()),
        tuple(variant.notes),
    )


def shown(entry: Entry) -> list[Any]:
    """Batches of what the variants are compared on."""
    return in_batches(entry.inputs(SAMPLES, 1))


def in_batches(inputs: Any) -> list[Any]:
    """Samples in batches of eight."""
    if isinstance(inputs, Tensor):
        return list(inputs.split(BATCH))
    parts = {name: tensor.split(BATCH) for name, tensor in inputs.items()}
    return [{name: part[i] for name, part in parts.items()} for i in range(SAMPLES // BATCH)]


def outputs(variant: Variant, batches: Iterable[Any]) -> Tensor:
    """Of all batches, [samples, values]."""
    with variant.running():
        return torch.cat([floats(variant.forward(batch)) for batch in batches])


def floats(given: Any) -> Tensor:
    """A model's first floating-point output, [samples, values]."""
    return next(t for t in tensors_in(given) if t.is_floating_point()).flatten(1)
