"""Choice: the first flow that can take a model, and why the ones before it could not."""

from collections.abc import Callable
from typing import Any, TypeVar

from pytest_quant.errors import QuantStageError
from pytest_quant.quantize.flows import eager, fx, parts, pt2e
from pytest_quant.quantize.flows.flow import Flow, FlowRefusal
from pytest_quant.variant.recipe import Recipe

FLOWS: dict[str, Flow] = {"eager": eager, "fx": fx, "pt2e": pt2e, "parts": parts}
T = TypeVar("T")


def first_that_can(
    module: Any, recipe: Recipe, attempt: Callable[[Flow], T]
) -> tuple[T, tuple[str, ...]]:
    """What the first flow makes that can, and a note on those that could not.

    Args:
        module: the FP32 model.
        recipe: whose flow is a name, or ``auto``.
        attempt: makes the variant by a flow.

    Raises:
        QuantStageError: of the flow that the recipe names; with ``auto``, when no flow can: each
            one's reason. What the data or the training is to blame for fails at once.
    """
    refused: dict[str, QuantStageError] = {}
    for name in candidates(module, recipe):
        flow = FLOWS[name]
        try:
            if reason := flow.refusal(module, recipe):
                raise FlowRefusal("prepare", name, f"cannot take quant_model: {reason}")
            made = attempt(flow)
        except QuantStageError as error:
            datas = error.stage == "calibrate" and not isinstance(error, FlowRefusal)
            if recipe.flow != "auto" or error.stage in ("fixture", "train") or datas:
                raise
            refused[name] = error
            continue
        if not refused:
            return made, ()
        reasons = "; ".join(_reason(*item) for item in refused.items())
        return made, (f"quantized by flow {name}, since {reasons}",)
    if len(refused) == 1:
        raise next(iter(refused.values()))
    sentences = " ".join(_sentence(*item) for item in refused.items())
    raise QuantStageError("prepare", f"no flow takes quant_model. {sentences}")


def _reason(flow: str, error: QuantStageError) -> str:
    return getattr(error, "reason", f"{flow} failed: {error.sentence.rstrip('.')}")


def _sentence(flow: str, error: QuantStageError) -> str:
    if isinstance(error, FlowRefusal):
        return error.sentence
    return f"flow {flow} failed: {error.sentence.rstrip('.')}."


def candidates(module: Any, recipe: Recipe) -> tuple[str, ...]:
    """The flows to try, in order."""
    if recipe.flow != "auto":
        return (recipe.flow,)
    if recipe.kind == "dynamic":
        return ("pt2e",) if eager.refusal(module, recipe) else ("eager",)
    return (*(("eager",) if eager.has_stubs(module) else ()), "fx", "pt2e", "parts")
