"""Lessons: whether what QAT was trained on, and by, asks for what FP32 has learned; its outputs tell."""

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from pytest_quant.subject.batches import each_batch, on_cpu, size_of, unpack
from pytest_quant.subject.metrics import Metric
from pytest_quant.subject.samples import rows
from pytest_quant.subject.scoring import score
from pytest_quant.subject.shift.unmoved import unmoved
from pytest_quant.subject.subject import forward
from pytest_quant.variant.variant import Variant

SAMPLES = 256  # of the training data that FP32 is asked about
FEWEST = 32  # samples that are worth to be trained on
SECONDS = 5.0  # for reading the labels of all training data
FEWEST_CLASSES = 3  # below, a batch of one class is no sign of sorted data
FEWEST_OF_A_BATCH = 8  # samples, that a batch of one class is a sign
EACH = 5  # samples of each class, without which some may be missing by chance
FEW_CLASSES = 0.5  # of those that are judged
MOST_NAMED = 5
FAR_BELOW = 0.5  # of FP32's value on the eval data; augmentation costs less
Lesson = tuple[Any, Any, int]  # FP32's outputs, the targets, and how many samples


def wrong_lesson(variant: Variant, metric: Metric) -> str | None:
    """What is wrong with samples, labels or loss, as a sentence with what to do; None where nothing is
    known to be.

    Of a loop of the user's own neither is seen.
    """
    subject = variant.subject
    if subject.train is not None or subject.train_data is None:
        return None
    try:
        with variant.isolated((subject.train_data,)), unmoved(subject.train_data):
            lessons = list(_lessons(variant))
            if (samples := sum(size for *_, size in lessons)) < FEWEST:
                return (
                    f"quant_train_data has only {samples} samples, on which training overfits: train on "
                    "more of those that FP32 was trained on."
                )
            wrong = _wrong_labels(variant, metric, lessons) or _wrong_loss(variant, lessons)
            return wrong or _wrong_selection(variant, metric)
    except Exception:  # such as of a loss that wants something else: nothing is known
        return None


def _lessons(variant: Variant) -> Iterator[Lesson]:
    subject, seen = variant.subject, 0
    for batch in each_batch(subject.train_data, "quant_train_data", subject.batch):
        raw, targets = unpack(batch, "quant_train_data", subject.batch)
        inputs, size = on_cpu(raw), size_of(raw)
        with variant.fp32.running():
            outputs = forward(subject, variant.fp32.model, inputs, "FP32")
        yield outputs, targets, size
        seen += size
        if seen >= SAMPLES:
            return


def _wrong_labels(variant: Variant, metric: Metric, lessons: list[Lesson]) -> str | None:
    """FP32 is right where it is judged, and wrong where it is to learn."""
    before = variant.fp32.evaluation.values[metric.name]
    if metric.is_accumulator or metric.unit != "fraction" or not metric.higher_is_better:
        return None
    scores = [np.nanmean(score(metric, *lesson)) for lesson in lessons]
    sizes = [size for *_, size in lessons]
    value = float(np.average(scores, weights=sizes))
    if not value < FAR_BELOW * before:
        return None
    return (
        f"The targets of quant_train_data are not those that FP32 was trained on: on {sum(sizes)} of its "
        f"samples FP32 itself has {metric.shown(value)} of {metric.name}, on quant_eval_data "
        f"{metric.shown(before)}. Look at its labels (their order and offset) and at its preprocessing."
    )


def _wrong_selection(variant: Variant, metric: Metric) -> str | None:
    """Training data of few of the classes that are judged, or whose batches have one class each."""
    judged = {*_classes(variant.fp32.evaluation.labels)}
    if len(judged) < FEWEST_CLASSES or metric.unit != "fraction":  # whole numbers may be amounts
        return None
    end, seen, in_batches = time.perf_counter() + SECONDS, Counter[int](), list[int]()
    for batch in each_batch(variant.subject.train_data, "quant_train_data", variant.subject.batch):
        targets = unpack(batch, "quant_train_data", variant.subject.batch)[1]
        found = _classes(getattr(targets, "numpy", lambda: None)())
        if not found or time.perf_counter() > end:
            return None
        seen.update(found)
        if len(found) >= FEWEST_OF_A_BATCH:
            in_batches.append(len({*found}))
    learned = sorted(judged & seen.keys())
    if seen.total() < EACH * len(judged):
        return None
    if not learned:
        return (
            f"None of the classes of quant_eval_data is in quant_train_data, whose labels are from "
            f"{min(seen)} to {max(seen)}: they are numbered otherwise. Look at its labels."
        )
    if len(learned) <= FEW_CLASSES * len(judged):
        named = ", ".join(map(str, learned[:MOST_NAMED])) + (
            ", ..." if learned[MOST_NAMED:] else ""
        )
        return (
            f"quant_train_data has samples of {len(learned)} of the {len(judged)} classes of "
            f"quant_eval_data ({named}): the model forgets the others. Train on all classes."
        )
    if len(in_batches) > 1 and max(in_batches) == 1:
        return (
            "quant_train_data is sorted: all samples of a batch are of one class, so that each batch makes "
            "the model forget the others. Shuffle it (shuffle=True of its DataLoader)."
        )
    return None


def _classes(labels: Any) -> list[int]:
    """The class numbers of samples; nothing where labels are none."""
    if not isinstance(labels, np.ndarray) or labels.ndim != 1 or labels.dtype.kind not in "iu":
        return []
    return [int(label) for label in labels.tolist()]


def _wrong_loss(variant: Variant, lessons: list[Lesson]) -> str | None:
    """A loss that is no lower for the targets of FP32's outputs than for those of other samples."""
    loss = variant.subject.loss
    if loss is None:
        return None
    own, others = [], []
    for outputs, targets, size in lessons:
        moved = rows(targets, [(place + 1) % size for place in range(size)], size)
        if size < 2:
            continue
        own.append(float(loss(outputs, targets)))
        others.append(float(loss(outputs, moved)))
    if not own or not np.mean(own) >= np.mean(others):
        return None
    return (
        f"quant_loss does not ask for what is judged: of FP32's outputs it is {np.mean(own):.3g} for their "
        f"own targets, and {np.mean(others):.3g} for those of other samples, where the first should be "
        "lower. Look at its sign, at the order of its arguments and at what it makes of the targets."
    )
