"""Subject: the FP32 model with its data, metric and training; checked once, at the door."""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.machine.opened import unnoticed
from pytest_quant.subject.batches import (
    call,
    each_batch,
    on_cpu,
    other_float,
    run,
    size_of,
    taken,
    tensors_in,
    unpack,
    yields_singles,
)
from pytest_quant.subject.counted import check_form, check_samples
from pytest_quant.subject.digests import digests
from pytest_quant.subject.door import MOVED, Door, distance
from pytest_quant.subject.forward_hooks import set_aside, set_global_aside
from pytest_quant.subject.fp32_copy import fp32_copy
from pytest_quant.subject.inputs import TRAINING, Input, inputs_for
from pytest_quant.subject.kept_state import Unlike, why_unlike
from pytest_quant.subject.metrics import Metric, metrics_from
from pytest_quant.subject.output_form import refuse_other_form
from pytest_quant.subject.output_numbers import numbers_in
from pytest_quant.subject.probe import Probe
from pytest_quant.subject.samples import shapes_in
from pytest_quant.subject.scoring import score
from pytest_quant.subject.scratch import Scratch
from pytest_quant.subject.singles import TOGETHER
from pytest_quant.subject.slices import check_names
from pytest_quant.subject.trust import enough, trusted


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """The model to be quantized, and all that belongs to it.

    In a conftest only the first two are given, by `quant_model`; the plugin adds the rest from
    the other fixtures. In a script give them all.

    Args:
        model: a trained FP32 ``nn.Module``. It is never changed: every variant starts from a copy.
        name: its name in the report; default: its class.
        eval_data: re-iterable of (inputs, targets) batches, or a map-style Dataset.
        calibration_data: inputs or (inputs, targets) for the observers; default: `train_data`.
        train_data: batches for QAT's own training loop.
        train: callable(model) -> None; your own QAT loop.
        qat_state: state dict of a fake-quantized model that was trained elsewhere, or a file with one;
            taken instead of training.
        loss: callable(outputs, targets) -> scalar tensor; default cross-entropy.
        metric: see `Metric`; default top-1 accuracy.
        batch: callable(batch) -> (inputs, targets).
        forward: callable(model, inputs) -> outputs.
        latency_inputs: inputs of one timed call; default: the first eval batch.
        slices: callable(inputs, targets) -> a name for each sample of a batch; default: its class.
        where: the folder, file or class that this model belongs to; tells namesakes apart.
        ids: of the parameters of its inputs; tells namesakes apart too.
        identities: of fields whose value is given anew each time, what tells whether it is the same;
            other fields are the same only if they are the same object.
    """

    model: Any
    name: str | None = None
    eval_data: Any = field(default=None, kw_only=True)
    calibration_data: Any = field(default=None, kw_only=True)
    train_data: Any = field(default=None, kw_only=True)
    train: Any = field(default=None, kw_only=True)
    loss: Any = field(default=None, kw_only=True)
    qat_state: Any = field(default=None, kw_only=True)
    metric: Any = field(default=None, kw_only=True)
    batch: Any = field(default=None, kw_only=True)
    forward: Any = field(default=None, kw_only=True)
    latency_inputs: Any = field(default=None, kw_only=True)
    slices: Any = field(default=None, kw_only=True)
    where: str = field(default="", kw_only=True)
    ids: str = field(default="", kw_only=True)
    identities: Mapping[str, Hashable] = field(default_factory=dict, kw_only=True)

    @property
    def label(self) -> str:
        """The model's name in the report."""
        return self.name or type(self.model).__name__

    def inputs(self, kind: str) -> list[Input]:
        """What a variant of this kind depends on; for ``fp32`` the baseline."""
        if kind == "static" and self.calibration_data is not None:
            return [each for each in inputs_for(kind) if each.fixture != TRAINING]
        return list(inputs_for(kind))

    def identity(self, kind: str) -> tuple[Hashable, ...]:
        """What makes two look-ups the same: the identity of each input, in order."""
        return tuple(self.identity_of(each.field) for each in self.inputs(kind))

    def identity_of(self, name: str) -> Hashable:
        """What tells whether a field is the same as another Subject's."""
        return self.identities.get(name, id(getattr(self, name)))


@dataclass(frozen=True, slots=True, eq=False)
class Admitted:
    """A Subject that passed the door: its FP32 copy, metrics and first batch, and what was noted.

    Args:
        door: what FP32 was then, and so has to be whenever it counts.
    """

    subject: Subject
    module: Any
    metrics: tuple[Metric, ...]
    first_inputs: Any
    notes: tuple[str, ...]
    door: Door

    def timed_inputs(self, batch: int | None) -> Any:
        """The inputs of one timed call: `quant_latency_inputs`, else the first eval batch.

        Args:
            batch: samples that they are cut or repeated to; None for as many as there are.
        """
        own = self.subject.latency_inputs
        inputs = self.first_inputs if own is None else on_cpu(own)
        return inputs if batch is None else taken(inputs, batch)


def admit(subject: Subject) -> Admitted:
    """Check model, data and metric on the first batch, before anything is built.

    To be called inside `isolated`, with the settings that all later work is to run in.

    Raises:
        QuantStageError: names the fixture or the stage, what was given and what to do.
    """
    import torch

    from pytest_quant.subject.shared import unshared

    module, notes = fp32_copy(subject.model)
    set_global_aside(notes)
    metrics = _metrics(subject)
    batches = each_batch(subject.eval_data, "quant_eval_data", subject.batch)
    first = next(batches, None)
    if first is None:
        raise QuantStageError(
            "fixture",
            "quant_eval_data yielded nothing; accuracy needs labelled samples (some "
            "hundred at least). Override the fixture quant_eval_data.",
        )
    if yields_singles(subject.eval_data, "quant_eval_data", subject.batch):
        notes.append(
            f"quant_eval_data yields single samples, which are taken in batches of {TOGETHER}; wrap it in "
            "a DataLoader for another size"
        )
    raw_inputs, targets = unpack(first, "quant_eval_data", subject.batch)
    inputs = on_cpu(raw_inputs)
    if other := sorted(filter(None, set(map(other_float, tensors_in(raw_inputs))))):
        notes.append(f"quant_eval_data gives {', '.join(other)} inputs; they are cast to float32")
    check_samples(inputs, targets, 1)
    check_form(inputs, subject.forward)
    with unnoticed():  # a file that names slices changes no build
        check_names(subject.slices, inputs, targets, size_of(inputs))

    def run_again(model: Any) -> Any:
        return forward(subject, model, inputs, "quant_model (FP32)")

    with torch.inference_mode():
        outputs = _first_outputs(subject, module, inputs)
        again = unshared(subject.model, module, lambda: run_again(module))
    if not _repeats(outputs, again, size_of(inputs), notes):
        unused, _ = fp32_copy(subject.model)
        with torch.inference_mode():
            why = why_unlike(module, run_again, unused)
        raise _unlike(why)
    set_aside(module, lambda: call(module, inputs, subject.forward), outputs, notes)
    for metric in metrics:
        score(metric, outputs, targets, size_of(inputs))
    probe = _probe(
        subject, module, metrics, Probe((outputs,), (targets,), (size_of(inputs),)), batches
    )
    known = [trusted(metric, probe, inputs) for metric in metrics]
    notes += [note for _, told in known for note in told]
    metrics = tuple(metric for metric, _ in known)
    door = Door.of(module, inputs, subject.forward)
    return Admitted(subject, module, metrics, inputs, tuple(notes), door)


def _first_outputs(subject: Subject, module: Any, inputs: Any) -> Any:
    """Of FP32, with a word on types where the user's model has other ones."""
    try:
        return forward(subject, module, inputs, "quant_model (FP32)")
    except QuantStageError as error:
        theirs = sorted(filter(None, set(map(other_float, subject.model.parameters()))))
        if not theirs or ("dtype" not in error.sentence and "type" not in error.sentence):
            raise
        raise QuantStageError(
            error.stage,
            f"{error.sentence} quant_model is in {', '.join(theirs)} and is measured as float32: where "
            "forward or quant_forward casts by itself, let it cast to the type of the weights, as in "
            "x.to(self.head.weight.dtype).",
        ) from error


def _probe(
    subject: Subject, module: Any, metrics: tuple[Metric, ...], probe: Probe, batches: Iterator[Any]
) -> Probe:
    """As many batches as it takes to know the metrics; what fails beyond the first is left to the pass."""
    import torch

    try:
        while not enough(probe, metrics):
            batch = next(batches, None)
            if batch is None:
                break
            raw, targets = unpack(batch, "quant_eval_data", subject.batch)
            inputs = on_cpu(raw)
            with torch.inference_mode():
                outputs = forward(subject, module, inputs, "quant_model (FP32)")
            for metric in metrics:
                score(metric, outputs, targets, size_of(inputs))
            probe = probe.with_batch(outputs, targets, size_of(inputs))
    except QuantStageError:
        pass
    return probe


def forward(
    subject: Subject,
    model: Any,
    inputs: Any,
    who: str,
    *,
    stage: str = "evaluate",
    fixture: str = "quant_eval_data",
    scratch: Scratch | None = None,
    blamed: str | None = None,
) -> Any:
    """The outputs of one batch, with an error from inside turned into a sentence that names the stage
    and the fixture that gave the inputs.

    Args:
        blamed: what to do where FP32 takes the inputs, so that they are not to blame; None where it is
            not known to.
        scratch: of a pass of many batches, for the copies that the model is given.
    """
    try:
        if scratch is None:
            outputs = call(model, inputs, subject.forward)
        else:
            outputs = run(model, scratch.copied(inputs), subject.forward)
    except Exception as error:
        taken = "" if blamed is None else ", which FP32 takes"
        remedy = blamed or (
            f"Check the inputs of {fixture}, or say with quant_forward how the model is called."
        )
        raise QuantStageError(
            stage,
            f"{who} could not run on inputs of shape {shapes_in(inputs)}{taken}: {in_brief(error)}. "
            f"{remedy}",
        ) from error
    refuse_other_form(outputs, who, stage)
    return outputs


def _metrics(subject: Subject) -> tuple[Metric, ...]:
    try:
        return metrics_from(subject.metric)
    except (TypeError, ValueError) as error:
        raise QuantStageError("fixture", str(error)) from None


def _repeats(first: Any, second: Any, size: int, notes: list[str]) -> bool:
    if digests(first, size) == digests(second, size):
        return True
    numbers = [*numbers_in(first)]
    is_close = bool(numbers) and distance(numbers, [*numbers_in(second)]) <= MOVED
    if is_close:
        notes.append("FP32 gives slightly different bits when it runs twice on the same inputs")
    return is_close


def _unlike(why: Unlike) -> QuantStageError:
    told = "two runs on the same batch gave different outputs, so no comparison with a variant would mean"
    if why.is_random:
        return QuantStageError(
            "evaluate",
            f"FP32 is not deterministic: {told} anything. Look for dropout that stays on in eval mode "
            "(F.dropout without training=self.training) or for randomness in forward.",
        )
    if not why.kept:
        return QuantStageError(
            "evaluate",
            f"FP32 is not deterministic: {told} anything; {why.what}. Look for randomness in forward, such "
            "as a generator that is made there without a seed, and for what each call adds to.",
        )
    return QuantStageError(
        "evaluate",
        f"FP32 depends on its earlier calls: {told} anything; {why.what}. Let each call start anew: "
        "reset in forward, or in quant_forward before it calls the model, what belongs to one sequence (a "
        "state, a cache, a counter, a generator).",
    )
