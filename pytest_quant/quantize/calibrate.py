"""Calibration: let the observers of a prepared model see samples."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from pytest_quant.errors import QuantStageError
from pytest_quant.machine.progress import Progress
from pytest_quant.quantize.flows.flow import FlowRefusal
from pytest_quant.quantize.tuned import Tuned
from pytest_quant.quantize.wishes import refuse_too_few
from pytest_quant.subject.batches import (
    each_batch,
    inputs_only,
    on_cpu,
    size_of,
    taken,
    tensors_in,
)
from pytest_quant.subject.digests import digests
from pytest_quant.subject.shift.traits import Seen
from pytest_quant.subject.subject import Admitted, Subject, forward
from pytest_quant.variant.recipe import Recipe


def calibrate(
    prepared: Any, admitted: Admitted, recipe: Recipe, who: str, progress: Progress
) -> Tuned:
    """Run about as many samples of the calibration data through the prepared model as the recipe says.

    Returns:
        With the inputs seen, so that a sample of the eval data among them is found, and that they are of
        another kind.

    Raises:
        FlowRefusal: when the prepared model cannot run what FP32 can.
        QuantStageError: when the data is missing, yields nothing, is the eval data, or fits not even
            FP32.
    """
    import torch

    subject, samples = admitted.subject, recipe.calibration_samples
    fixture, _ = calibration_source(subject)
    seen, looked_at = set[bytes](), Seen()
    done, first = 0, None

    def run(model: Any, whose: str, inputs: Any) -> None:
        forward(subject, model, inputs, whose, stage="calibrate", fixture=fixture)

    with torch.no_grad(), progress(f"calibrate {who}", samples, "samples") as advance:
        for inputs, count in calibration_batches(admitted, samples):
            first = inputs if first is None else first
            try:
                run(prepared, "the prepared model", inputs)
            except QuantStageError as error:
                run(admitted.module, "FP32", inputs)
                _refuse_broken(inputs, fixture, done)
                reason = f"prepared what cannot run: {error.sentence.rstrip('.')}"
                raise FlowRefusal("calibrate", recipe.flow, reason) from error
            seen.update(digests(inputs, count))
            with suppress(Exception):  # what cannot be looked at is not compared
                looked_at.add(inputs, count)
            advance(count)
            done += count
    if not done:
        raise QuantStageError(
            "calibrate",
            f"{fixture} yielded nothing; static quantization needs inputs to observe "
            "(about 200 samples are usually enough). Override the fixture quant_calibration_data.",
        )
    refuse_too_few(recipe, done, fixture)
    return Tuned(frozenset(seen), inputs=first, seen=looked_at)


def calibration_batches(admitted: Admitted, samples: int) -> Iterator[tuple[Any, int]]:
    """The inputs of the calibration data's batches up to so many samples, and how many are in each.

    Raises:
        QuantStageError: as `calibration_source`, and when a batch cannot be read.
    """
    subject, left = admitted.subject, samples
    fixture, data = calibration_source(subject)
    for batch in each_batch(data, fixture, subject.batch, like=admitted.first_inputs):
        inputs = on_cpu(inputs_only(batch, fixture, subject.batch))
        count = min(size_of(inputs), left) or 1
        yield taken(inputs, count), count
        left -= count
        if left <= 0:
            return


def _refuse_broken(inputs: Any, fixture: str, done: int) -> None:
    """Of values that are no numbers no range can be found, by whatever flow."""
    import torch

    floats = [tensor for tensor in tensors_in(inputs) if tensor.is_floating_point()]
    if not all(bool(torch.isfinite(tensor).all()) for tensor in floats):
        raise QuantStageError(
            "calibrate",
            f"{fixture} holds NaN or infinity among the {size_of(inputs)} samples after the first {done}, "
            "of which no range can be found. Leave such samples out.",
        )


def calibration_source(subject: Subject) -> tuple[str, Any]:
    """Name of the fixture and the data to calibrate on.

    Raises:
        QuantStageError: when there is none, or when it is the eval data.
    """
    own = subject.calibration_data is not None
    fixture = "quant_calibration_data" if own else "quant_train_data"
    data = subject.calibration_data if own else subject.train_data
    if data is None:
        raise QuantStageError(
            "calibrate",
            "there is no calibration data; static quantization needs inputs to observe "
            "(about 200 samples are usually enough). Override the fixture quant_calibration_data "
            "or quant_train_data.",
        )
    refuse_eval_data("calibrate", fixture, data, subject)
    return fixture, data


def refuse_eval_data(stage: str, fixture: str, data: Any, subject: Subject) -> None:
    """A model tuned on the data that judges it is judged too kindly."""
    datasets = (getattr(data, "dataset", data), getattr(subject.eval_data, "dataset", None))
    if data is subject.eval_data or datasets[0] is datasets[1]:
        raise QuantStageError(
            stage,
            f"{fixture} is the same data as quant_eval_data; the accuracy would be "
            "measured on what the model was tuned on. Use samples of the training data.",
        )
