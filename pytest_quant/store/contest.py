"""Contest: which flow, on which of PyTorch's quantized engines, is the fastest here, and still exact."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from pytest_quant.errors import QuantStageError
from pytest_quant.machine.conditions import Conditions
from pytest_quant.machine.engines import supported_engines
from pytest_quant.quantize.calibrate import calibration_source
from pytest_quant.quantize.methods.registry import facts_of, flows_of
from pytest_quant.store.choice import Choice
from pytest_quant.subject.batches import each_batch, inputs_only, on_cpu
from pytest_quant.subject.subject import Subject
from pytest_quant.variant.recipe import Recipe
from pytest_quant.variant.sqnr import sqnr
from pytest_quant.variant.variant import Variant

NEAR = 1.0  # dB; what loses more than this against the most exact is out
ROUNDS = 15
SECONDS = 10.0  # for each contender


def is_contest(recipe: Recipe, conditions: Conditions) -> bool:
    """Whether the flow or the engine is to be found by measuring."""
    is_int8 = facts_of(recipe).is_dynamic or facts_of(recipe).is_observed
    return is_int8 and (recipe.flow == "best" or (recipe.engine or conditions.engine) == "auto")


def inputs_of(fp32: Variant, subject: Subject) -> Any:
    """What a contest is decided on: the first calibration batch, so that nothing is chosen on the eval
    data; the first eval batch where there is none."""
    try:
        fixture, data = calibration_source(subject)
        with fp32.isolated(loaders=(data,)):
            like = fp32.admitted.first_inputs
            batch = next(iter(each_batch(data, fixture, subject.batch, like=like)))
            return on_cpu(inputs_only(batch, fixture, subject.batch))
    except (QuantStageError, StopIteration):
        return fp32.admitted.first_inputs


def fastest(
    recipe: Recipe, fp32: Variant, inputs: Any, make: Callable[[Recipe], Variant]
) -> Choice:
    """The flow and engine to build a recipe with, and a note on how they were found.

    Each contender makes the variant and runs beside FP32. One that is more than 1 dB less exact than the
    most exact is out; of the others the fastest wins. QAT's are found with static variants, since
    training takes long and changes neither what a flow takes nor the kernels.

    Args:
        recipe: with the flow (``best``), the engine (``auto``) or both left open.
        fp32: the baseline.
        inputs: one batch, without labels.
        make: builds a variant after a recipe.

    Raises:
        QuantStageError: when no contender can make it; the last one's reason.
    """
    contenders = list(_contenders(recipe, fp32))
    if len(contenders) == 1:
        (only,) = contenders
        return Choice(
            only.flow, only.engine, f"flow {only.flow} runs on engine {only.engine} alone"
        )
    found: dict[str, tuple[float, float, Recipe]] = {}
    failed: dict[str, QuantStageError] = {}
    with fp32.running():
        expected = fp32.forward(inputs)
    for contender in contenders:
        name = _name(contender, recipe)
        try:
            variant = make(static_of(contender))
            with variant.running():
                exactness = sqnr(expected, variant.forward(inputs))
            pair = variant.pair("given")
            pair.add_rounds(ROUNDS, SECONDS)
        except QuantStageError as error:
            failed[name] = error
            continue
        found[name] = (pair.ratio, exactness, contender)
    if not found:
        raise next(reversed(failed.values()))
    best = max(exactness for _, exactness, _ in found.values())
    exact = {name: each for name, each in found.items() if each[1] >= best - NEAR}
    winner = max(exact, key=lambda name: exact[name][0])
    listed = [f"{name} {ratio:.2f}x at {dB:.1f} dB" for name, (ratio, dB, _) in found.items()]
    listed += [f"{name} failed" for name in failed]
    what = f"flow {winner}" if recipe.flow == "best" else f"engine {winner}"
    chosen = found[winner][2]
    note = f"{what} is the fastest here that is exact: {', '.join(listed)}"
    return Choice(chosen.flow, chosen.engine, note)


def _contenders(recipe: Recipe, fp32: Variant) -> Iterator[Recipe]:
    """The recipe with each flow and engine that it leaves open."""
    flows: tuple[str, ...] = (recipe.flow,)
    if recipe.flow == "best":
        flows = (*flows_of(recipe, fp32.model), *recipe.runtimes)
    asked = recipe.engine or fp32.conditions.engine
    for flow in flows:
        contender = replace(recipe, flow=flow, runtimes=())
        only = facts_of(contender).engine
        engines = (only,) if only else supported_engines() if asked == "auto" else (asked,)
        for engine in engines:
            yield replace(contender, engine=engine)


def _name(contender: Recipe, recipe: Recipe) -> str:
    """What tells it from the others."""
    said = [contender.flow] if recipe.flow == "best" else []
    if contender.engine is not None:
        said.append(f"on {contender.engine}" if said else contender.engine)
    return " ".join(said)


def static_of(recipe: Recipe) -> Recipe:
    """The static recipe that stands for one of QAT's; another one itself."""
    if not facts_of(recipe).trains:
        return recipe
    kept = ("flow", "engine", "observer", "qscheme", "per_channel", "keep_fp32")
    return Recipe("static", **{name: getattr(recipe, name) for name in kept})
