"""The package's search: `mend` on a variant that fails its limit."""

from collections.abc import Iterator
from typing import Any

import torch
from mend_case import BATCH, Batches, Task, digits, fidelity, loaded, logits, top1, weighted
from mend_outcome import Outcome
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pytest_quant import Recipe, Subject
from pytest_quant.machine.conditions import Conditions
from pytest_quant.quantize.names import kept
from pytest_quant.store.open import open_store


class Counted(Dataset[tuple[Tensor, Tensor]]):
    """Samples that keep count of how often one was taken."""

    def __init__(self, batches: Batches) -> None:
        images, labels = zip(*batches, strict=True)
        self.images, self.labels = torch.cat(images), torch.cat(labels)
        self.taken = 0

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        self.taken += 1
        return self.images[index], self.labels[index]


class Passes(DataLoader[tuple[Tensor, Tensor]]):
    """Batches that keep count of the passes that went to the end."""

    whole = 0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        yield from super().__iter__()
        self.whole += 1


def package(task: Task, *, per_channel: bool, cheap: bool) -> Outcome:
    """The package's answer; without ``cheap`` it may only keep layers FP32."""
    from pytest_quant.explain import mend

    module = loaded(task.case, task.folder)
    calibration, validation = digits(task.shifts)
    samples = Counted(validation)
    passes = Passes(samples, batch_size=BATCH)
    store = open_store(Conditions(threads=task.threads))
    subject = Subject(module, task.case, eval_data=passes, calibration_data=calibration)
    start = task.clock()
    variant = store.variant(subject, Recipe("static", per_channel=per_channel))
    fp32, quantized = (v.evaluation.values["top-1"] for v in (variant.fp32, variant))
    failed, samples.taken, passes.whole = task.clock(), 0, 0
    remedy = mend(variant, task.limit, cheap=cheap)
    ended = task.clock()
    layers = weighted(module)
    outcome = {
        "before": fp32 - quantized,
        "layers": len(layers),
        "full": passes.whole,
        "part": samples.taken - passes.whole * len(samples),
        "search": ended - failed,
        "seconds": ended - start,
    }
    if remedy.recipe is None:
        text = " ".join(remedy.sentences)
        return Outcome(
            **outcome, kept=0, accuracy=quantized, drop=fp32 - quantized, sqnr=0, note=text
        )
    recipe = Recipe.from_dict(remedy.recipe)
    final = store.variant(subject, recipe)
    with final.running():
        own = torch.cat([final.model(images) for images, _ in validation])
    accuracy = top1(own, samples.labels)
    return Outcome(
        **outcome,
        kept=len(kept(module, recipe.keep_fp32).intersection(layers)),
        accuracy=accuracy,
        drop=fp32 - accuracy,
        sqnr=fidelity(own, logits(module, validation)),
        note=f"{remedy.evaluations} trials, {remedy.builds} built: {remedy.line}",
    )
