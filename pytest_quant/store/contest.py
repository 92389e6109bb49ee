"""Engine contest: which of PyTorch's quantized engines is the fastest here, and still exact."""

from collections.abc import Callable
from dataclasses import replace

from pytest_quant.errors import QuantStageError
from pytest_quant.machine.conditions import Conditions
from pytest_quant.machine.engines import supported_engines
from pytest_quant.quantize.methods.registry import facts_of
from pytest_quant.variant.recipe import Recipe
from pytest_quant.variant.sqnr import sqnr
from pytest_quant.variant.variant import Variant

ONE_BIT = 6.02  # dB; an engine that loses more than this against the most exact one is out
ROUNDS = 15
SECONDS = 10.0  # for each engine


def is_contest(recipe: Recipe, conditions: Conditions) -> bool:
    """Whether the engine is to be found by measuring."""
    is_int8 = facts_of(recipe).is_dynamic or facts_of(recipe).is_observed
    return is_int8 and (recipe.engine or conditions.engine) == "auto"


def fastest_engine(
    recipe: Recipe, fp32: Variant, make: Callable[[Recipe], Variant]
) -> tuple[str, str]:
    """The engine to build a recipe with, and a note on how it was found.

    Each engine makes the variant and runs beside FP32. One that loses more than a bit of the
    outputs against the most exact is out; of the others the fastest wins. Outputs are those of the
    first eval batch; its labels are not looked at. QAT's engine is found with static variants, since
    training takes long and does not change the kernels.

    Args:
        recipe: with the engine left open.
        fp32: the baseline.
        make: builds a variant after a recipe.

    Raises:
        QuantStageError: when no engine can make it; the last one's reason.
    """
    if only := facts_of(recipe).engine:
        return only, f"flow {recipe.flow} runs on engine {only} alone"
    found: dict[str, tuple[float, float]] = {}
    failed: dict[str, QuantStageError] = {}
    inputs = fp32.admitted.first_inputs
    with fp32.running():
        expected = fp32.forward(inputs)
    for engine in supported_engines():
        try:
            variant = make(_trial(recipe, engine))
            with variant.running():
                exactness = sqnr(expected, variant.forward(inputs))
            pair = variant.pair("given")
            pair.add_rounds(ROUNDS, SECONDS)
        except QuantStageError as error:
            failed[engine] = error
            continue
        found[engine] = (pair.ratio, exactness)
    if not found:
        raise next(reversed(failed.values()))
    best = max(exactness for _, exactness in found.values())
    exact = [engine for engine, (_, exactness) in found.items() if exactness > best - ONE_BIT]
    winner = max(exact, key=lambda engine: found[engine][0])
    listed = [f"{e} {ratio:.2f}x at {dB:.1f} dB" for e, (ratio, dB) in found.items()]
    listed += [f"{engine} failed" for engine in failed]
    return winner, f"engine {winner} is the fastest here that is exact: {', '.join(listed)}"


def _trial(recipe: Recipe, engine: str) -> Recipe:
    if not facts_of(recipe).trains:
        return replace(recipe, engine=engine)
    kept = ("flow", "observer", "qscheme", "per_channel", "keep_fp32")
    return Recipe("static", engine=engine, **{name: getattr(recipe, name) for name in kept})
