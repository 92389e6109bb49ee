"""Build a variant's model after its recipe, stage by stage, with each stage's name and time."""

import copy
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_quant.batches import call
from pytest_quant.conditions import Conditions, engine_set, isolated
from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.quantize import calibrate, train
from pytest_quant.quantize.engines import engine_for
from pytest_quant.quantize.flows import dynamic, fx
from pytest_quant.recipe import Recipe
from pytest_quant.subject import Admitted


@dataclass(frozen=True, slots=True, eq=False)
class Built:
    """A quantized model and what is known of its making.

    Args:
        module: the model to run, under `recipe.engine`.
        recipe: as asked for, with the flow and engine that were taken.
        fake_quantized: QAT: the trained model before conversion, in eval mode.
        tuned_on: digests of the inputs that calibrated or trained it.
        seconds: of each stage.
    """

    module: Any
    recipe: Recipe
    fake_quantized: Any = None
    tuned_on: frozenset[bytes] = frozenset()
    seconds: Mapping[str, float] = field(default_factory=dict)


def build(admitted: Admitted, recipe: Recipe, conditions: Conditions) -> Built:
    """The variant's model. The FP32 model, the random state and PyTorch's settings stay as they were.

    Raises:
        QuantStageError: names the stage that failed, why, and a remedy.
    """
    subject = admitted.subject
    loaders = (subject.calibration_data, subject.train_data, subject.eval_data)
    engine = engine_for(recipe.engine or conditions.engine)
    recipe = replace(recipe, engine=engine, flow=_flow(recipe))
    with isolated(conditions, loaders=loaders), engine_set(engine):
        module = copy.deepcopy(admitted.module)
        if recipe.kind == "custom":
            return _custom(module, recipe)
        if recipe.kind == "dynamic":
            return _dynamic(module, recipe)
        return _observed(module, admitted, recipe, conditions)


def _flow(recipe: Recipe) -> str:
    if recipe.kind in ("dynamic", "custom"):
        return recipe.flow
    return fx.NAME if recipe.flow == "auto" else recipe.flow


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


def _dynamic(module: Any, recipe: Recipe) -> Built:
    seconds: dict[str, float] = {}
    with _stage("convert", seconds):
        converted = dynamic.convert(module, recipe, str(recipe.engine))
    return Built(converted, recipe, seconds=seconds)


def _observed(module: Any, admitted: Admitted, recipe: Recipe, conditions: Conditions) -> Built:
    """Static and QAT: prepare, then calibrate or train, then convert."""
    subject, seconds = admitted.subject, dict[str, float]()
    who = f"{subject.label} {recipe.kind}"
    args, kwargs = _arguments(module, admitted)
    with _stage("prepare", seconds):
        if recipe.kind == "qat":
            module.train()
        prepared = fx.prepare(module, recipe, str(recipe.engine), args, kwargs)
        if not fx.is_observed(prepared):
            raise QuantStageError(
                "prepare",
                "nothing to quantize: flow fx found no operation in quant_model"
                f"{' outside keep_fp32' if recipe.keep_fp32 else ''} that has an int8 kernel (Linear, "
                "convolutions and what goes with them).",
            )
    fake_quantized = None
    if recipe.kind == "qat":
        with _stage("train", seconds):
            tuned_on = train.train(prepared, subject, recipe, who, conditions.progress)
        _refuse_unobserved(prepared, "train")
        fake_quantized = copy.deepcopy(prepared).eval()
        train.freeze_observers(fake_quantized)
        fx.without_training(fake_quantized)
    else:
        with _stage("calibrate", seconds):
            tuned_on = calibrate.calibrate(
                prepared, subject, recipe.calibration_samples, who, conditions.progress
            )
        _refuse_unobserved(prepared, "calibrate")
    with _stage("convert", seconds):
        converted = fx.convert(prepared)
    return Built(converted, recipe, fake_quantized, frozenset(tuned_on), seconds)


def _arguments(module: Any, admitted: Admitted) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments that one call really passes to the model, whoever calls it."""
    caught: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    hook = module.register_forward_pre_hook(
        lambda _, args, kwargs: caught.append((args, kwargs)), with_kwargs=True
    )
    try:
        call(module, admitted.first_inputs, admitted.subject.forward)
    finally:
        hook.remove()
    if not caught:
        raise QuantStageError(
            "prepare",
            "quant_forward does not call the model it is given; static quantization and "
            "QAT trace model(...), so let quant_forward(model, inputs) call it.",
        )
    return caught[0]


def _refuse_unobserved(prepared: Any, stage: str) -> None:
    unseen = fx.unobserved(prepared)
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
