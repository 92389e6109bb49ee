"""Little int8: why a gate on the int8 share failed, and the recipe that could hold it, if there is one."""

import math

from pytest_quant.errors import brief
from pytest_quant.explain.remedies.to_paste import pasted
from pytest_quant.explain.size import size_cause
from pytest_quant.explain.size.attainable import most_int8
from pytest_quant.explain.size.layer_bytes import held_by
from pytest_quant.judge.verdict import Verdict
from pytest_quant.runtimes.artefact import Artefact
from pytest_quant.variant.recipe import Recipe
from pytest_quant.variant.variant import Variant

OF_DYNAMIC = (
    "Dynamic quantization covers Linear, recurrent and embedding layers only; static quantization and QAT "
    "also take convolutions."
)


def little_int8(verdict: Verdict, variant: Variant) -> str | None:
    """Cause and remedy as lines; None where there is nothing to say. Never raises."""
    is_file = isinstance(variant.model, Artefact)
    if is_file and not variant.facts.is_dynamic:
        return None
    try:
        sentence, recipe = _found(variant, is_file)
        known = recipe if sentence is not None else variant.recipe
        most = None if is_file or known is None else _most(variant, known, verdict)
    except Exception as error:  # a gate that failed stays failed, whatever its cause does
        return f"The cause could not be determined: {brief(error)}"
    if most is not None and most < verdict.limit:
        return "\n".join([*([sentence] if sentence else []), _out_of_reach(variant, known, most)])
    return None if sentence is None else "\n".join([sentence, *pasted(recipe, verdict, variant)])


def _found(variant: Variant, is_file: bool) -> tuple[str | None, Recipe | None]:
    if variant.facts.is_dynamic:
        same = variant.recipe.flow if is_file and variant.recipe is not None else "auto"
        return OF_DYNAMIC, Recipe("static", flow=same)
    tensors = variant.once("tensors", lambda: size_cause.weigh(variant))
    return size_cause.left_in_float(variant, tensors) or (None, None)


def _most(variant: Variant, recipe: Recipe, verdict: Verdict) -> float | None:
    """About the share of the parameters that such a recipe could make int8, were no layer kept FP32."""
    if verdict.evidence.get("of") != "parameters":
        return None
    model = variant.fp32.model
    total = sum(each.numel() * each.element_size() for each in model.parameters())
    return most_int8(variant.facts_of(recipe), held_by(variant.fp32), total)


def _out_of_reach(variant: Variant, recipe: Recipe | None, most: float) -> str:
    """That no recipe of this kind holds the limit."""
    kind = variant.name if recipe is None else recipe.kind
    percent = f"{math.floor(1e4 * most + 1e-6) / 100:.2f} %"
    return (
        f"The weights that {kind} can take are about {percent} of the parameters; biases, norms and other "
        f"layers stay FP32. It cannot hold a limit above that."
    )
