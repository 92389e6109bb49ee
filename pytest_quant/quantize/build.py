"""Build a variant's model after its recipe, stage by stage, with each stage's name and time."""

import copy
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.machine import torch_api
from pytest_quant.machine.conditions import Conditions, engine_set, isolated
from pytest_quant.machine.engines import engine_for
from pytest_quant.quantize import calibrate, train
from pytest_quant.quantize.equalize import equalize
from pytest_quant.quantize.faithful import refuse_another_model
from pytest_quant.quantize.flows import cast, dynamic, weight_only
from pytest_quant.quantize.flows.choice import first_that_can
from pytest_quant.quantize.flows.example import Example, example_of
from pytest_quant.quantize.flows.flow import Flow, FlowRefusal, observers_of, unobserved
from pytest_quant.subject.batches import call
from pytest_quant.subject.subject import Admitted
from pytest_quant.variant.recipe import Recipe
from pytest_quant.variant.running import running_as_built


@dataclass(frozen=True, slots=True, eq=False)
class Built:
    """A quantized model and what is known of its making.

    Args:
        module: the model to run, under `recipe.engine`.
        recipe: as asked for, with the flow and engine that were taken.
        fake_quantized: QAT: the trained model before conversion, in eval mode.
        tuned_on: digests of the inputs that calibrated or trained it.
        seconds: of each stage.
        notes: which flow was taken where another one could not, and why.
    """

    module: Any
    recipe: Recipe
    fake_quantized: Any = None
    tuned_on: frozenset[bytes] = frozenset()
    seconds: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def build(admitted: Admitted, recipe: Recipe, conditions: Conditions) -> Built:
    """The variant's model. The FP32 model, the random state and PyTorch's settings stay as they were.

    Raises:
        QuantStageError: names the stage that failed, why, and a remedy.
    """
    subject = admitted.subject
    loaders = (subject.calibration_data, subject.train_data, subject.eval_data)
    with isolated(conditions, loaders=loaders):
        if recipe.kind in ("weight_only", "cast"):
            return _rewritten(admitted, recipe)
        engine = engine_for(recipe.engine or conditions.engine)
        if recipe.kind == "custom":
            with engine_set(engine):
                return _custom(copy.deepcopy(admitted.module), replace(recipe, engine=engine))
        if recipe.kind == "static":
            calibrate.calibration_source(
                subject
            )  # what is missing is said before anything is built

        if recipe.kind != "dynamic":
            example_of(copy.deepcopy(admitted.module), admitted)  # or no flow can trace the call

        def attempt(flow: Flow) -> Built:
            own = flow.ENGINE or engine
            with engine_set(own):
                return _by(flow, admitted, replace(recipe, flow=flow.NAME, engine=own), conditions)

        built, notes = first_that_can(admitted.module, recipe, attempt)
        return replace(built, notes=(*built.notes, *notes))


def _custom(module: Any, recipe: Recipe) -> Built:
    assert recipe.build is not None  # a custom Recipe has one
    seconds: dict[str, float] = {}
    with _stage("convert", seconds):
        try:
            made = recipe.build(module)
        except Exception as error:
            raise QuantStageError(
                "convert", f"the recipe's build raised: {in_brief(error)}"
            ) from error
    if not callable(made):
        raise QuantStageError(
            "convert",
            f"the recipe's build returned {made!r}; expected the quantized model, a "
            "callable that takes the FP32 model's inputs.",
        )
    if hasattr(made, "eval") and getattr(made, "training", False):
        made.eval()
    return Built(made, recipe, seconds=seconds)


def _rewritten(admitted: Admitted, recipe: Recipe) -> Built:
    """Weights, or the whole model, stored in fewer bits; nothing to observe or to train."""
    seconds: dict[str, float] = {}
    with _stage("convert", seconds):
        rewrite = cast.convert if recipe.kind == "cast" else weight_only.convert
        made = rewrite(copy.deepcopy(admitted.module), recipe)
        _check_runs(made, admitted, recipe)
    return Built(made, recipe, seconds=seconds)


def _by(flow: Flow, admitted: Admitted, recipe: Recipe, conditions: Conditions) -> Built:
    """prepare, then calibrate or train, then convert; what comes out must run."""
    module, seconds = copy.deepcopy(admitted.module), dict[str, float]()
    if recipe.kind == "dynamic" and flow.NAME == "eager":
        with _stage("convert", seconds):
            converted = _swapped(module, admitted, recipe)
            _check_runs(converted, admitted, recipe)
        return Built(converted, recipe, seconds=seconds)
    example = example_of(module, admitted)
    with _stage("prepare", seconds):
        notes = (equalize(module, example),) if recipe.equalize else ()
        prepared = _prepared(flow, module, admitted, recipe, example)
    tuned_on = _tuned(prepared, admitted, recipe, conditions, seconds)
    fake_quantized = None
    if recipe.kind == "qat":
        fake_quantized = flow.rehearsal(prepared)
        torch_api.freeze_observers(fake_quantized)
    with _stage("convert", seconds):
        converted = flow.convert(prepared, example)
        _check_runs(converted, admitted, recipe)
    return Built(converted, recipe, fake_quantized, frozenset(tuned_on), seconds, notes)


def _swapped(module: Any, admitted: Admitted, recipe: Recipe) -> Any:
    """Dynamic quantization in eager mode, which swaps layers and has nothing to prepare."""
    inputs, forward = admitted.first_inputs, admitted.subject.forward
    return dynamic.convert(
        module, recipe, str(recipe.engine), lambda copied: call(copied, inputs, forward)
    )


def _prepared(flow: Flow, module: Any, admitted: Admitted, recipe: Recipe, example: Example) -> Any:
    """The module with observers or fake-quantize modules, which computes what FP32 does."""
    training = module.train(recipe.kind == "qat")
    prepared = flow.prepare(training, recipe, str(recipe.engine), example)
    if not observers_of(prepared):
        raise FlowRefusal(
            "prepare",
            flow.NAME,
            f"found nothing to quantize: no operation in quant_model"
            f"{' outside keep_fp32' if recipe.keep_fp32 else ''} has an int8 kernel (Linear, "
            "convolutions and what goes with them)",
        )
    if not recipe.equalize:  # which may put a ReLU in the place of a ReLU6
        refuse_another_model(prepared, admitted, flow)
    return prepared


def _tuned(
    prepared: Any,
    admitted: Admitted,
    recipe: Recipe,
    conditions: Conditions,
    seconds: dict[str, float],
) -> set[bytes]:
    """Calibrate or train in place; digests of the inputs that did it."""
    tune = {"qat": ("train", train.train), "static": ("calibrate", calibrate.calibrate)}
    if (
        recipe.kind not in tune
    ):  # observers of weights look when the model runs, no others are there
        with torch.no_grad():
            call(prepared, admitted.first_inputs, admitted.subject.forward)
        return set()
    name, run = tune[recipe.kind]
    who = f"{admitted.subject.label} {recipe.kind}"
    with _stage(name, seconds):
        tuned_on = run(prepared, admitted, recipe, who, conditions.progress)
    _refuse_unobserved(prepared, admitted, name)
    return tuned_on


def _check_runs(converted: Any, admitted: Admitted, recipe: Recipe) -> None:
    """Run the first batch, which also compiles what is to be compiled."""
    try:
        with running_as_built(converted, recipe):
            call(converted, admitted.first_inputs, admitted.subject.forward)
    except QuantStageError:
        raise
    except Exception as error:
        raise FlowRefusal(
            "convert", recipe.flow, f"made of quant_model what cannot run: {in_brief(error)}"
        ) from error


def _refuse_unobserved(prepared: Any, admitted: Admitted, stage: str) -> None:
    """Observers that the model uses must have seen something; it need not use all that it has."""
    if not unobserved(prepared):
        return
    probe = copy.deepcopy(prepared).eval()
    with torch.no_grad():
        call(probe, admitted.first_inputs, admitted.subject.forward)
    unused = set(unobserved(probe))
    unseen = [name for name in unobserved(prepared) if name not in unused]
    if unseen:
        source = "quant_train" if stage == "train" else "the calibration data"
        raise QuantStageError(
            stage,
            f"{len(unseen)} observers saw nothing ({', '.join(unseen[:3])}), so the ranges of "
            f"those activations are unknown; {source} must run the whole model.",
        )


@contextmanager
def _stage(name: str, seconds: dict[str, float]) -> Iterator[None]:
    """Time a stage, and give an unforeseen error the stage's name."""
    start = time.perf_counter()
    try:
        yield
    except QuantStageError:
        raise
    except Exception as error:
        raise QuantStageError(name, f"quant_model could not be taken: {in_brief(error)}") from error
    finally:
        seconds[name] = time.perf_counter() - start
