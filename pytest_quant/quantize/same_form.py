"""Same form: whether what a user's build made takes FP32's inputs, and gives outputs of FP32's form."""

from collections.abc import Mapping
from math import prod
from typing import Any

import torch

from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.subject.batches import call, described, other_float, size_of, taken
from pytest_quant.subject.logits import logits_of
from pytest_quant.subject.output_form import refuse_other_form
from pytest_quant.subject.samples import arrays_in, is_by_sample, shapes_in
from pytest_quant.subject.subject import Admitted
from pytest_quant.variant.facts import Facts
from pytest_quant.variant.recipe import Recipe
from pytest_quant.variant.running import running_as_built


def refuse_another_form(made: Any, admitted: Admitted, recipe: Recipe, facts: Facts) -> None:
    """Run the first batch, which FP32 is known to take.

    Raises:
        QuantStageError: when it cannot run, or gives outputs of another number of samples or tensors than
            FP32, or outputs that cannot be compared.
    """
    inputs, own = admitted.first_inputs, admitted.subject.forward
    with torch.inference_mode():
        expected = call(admitted.module, inputs, own)
    try:
        with running_as_built(made, recipe, facts):
            outputs = call(made, inputs, own)
    except Exception as error:
        raise QuantStageError(
            "convert",
            "the recipe's build made what could not run on the inputs that FP32 takes, of shape "
            f"{shapes_in(inputs)}: {in_brief(error)}; {_remedy(made, error)}.",
        ) from error
    refuse_other_form(outputs, f"the {recipe.kind} variant", "convert")
    size = size_of(inputs)
    what = _other_form(expected, outputs, size)
    if what and _counts_by_sample(expected, admitted, size):
        raise QuantStageError(
            "convert",
            f"the recipe's build made what gave {what}; expected outputs of the form of quant_model's.",
        )


def _remedy(made: Any, error: Exception) -> str:
    types = set(map(other_float, made.parameters())) if isinstance(made, torch.nn.Module) else set()
    if types - {None} and "type" in str(error):
        return "let the build cast its own inputs, or use Recipe('cast')"
    return "let the build return what is called as quant_model is"


def _counts_by_sample(expected: Any, admitted: Admitted, size: int) -> bool:
    """Whether half of the samples give half of FP32's outputs; there may be as many boxes by chance.

    What takes the whole batch only is taken to.
    """
    if size < 2:
        return True
    half = size // 2
    try:
        with torch.inference_mode():
            part = call(
                admitted.module, taken(admitted.first_inputs, half), admitted.subject.forward
            )
    except Exception:
        return True
    sizes = [each.shape[0] for each in arrays_in(expected) if each.ndim]
    halves = [each.shape[0] for each in arrays_in(part) if each.ndim]
    return halves == [half if own == size else own for own in sizes]


def _other_form(expected: Any, outputs: Any, size: int) -> str | None:
    """What it gave, and FP32 gives, in half a sentence; None where a metric may find the same in both.

    Sizes beyond that of the batch may depend on values, as the length of a text does. What a metric does
    not look at, as the outputs for training alone, may be left out.
    """
    if isinstance(expected, Mapping) and isinstance(outputs, Mapping):
        names = [name for name in expected if name in outputs]
        if names:
            expected, outputs = ([each[name] for name in names] for each in (expected, outputs))
    if isinstance(expected, list | tuple) and is_by_sample(expected, size):
        return _other_number(outputs, size) if isinstance(outputs, list | tuple) else None
    wanted, given = logits_of(expected), logits_of(outputs)
    if not isinstance(wanted, torch.Tensor) or not isinstance(given, torch.Tensor):
        wanted, given = expected, outputs
    left, right = list(arrays_in(wanted)), list(arrays_in(given))
    if (left and not right) or (len(left) == 1 != len(right)):
        return f"{_told(outputs, right)}, where FP32 gives {_told(expected, left)}"
    for one, other in zip(left, right, strict=False):
        shapes = f"shape {list(other.shape)}, where FP32 gives {list(one.shape)}"
        # an axis of 1 more or less is no harm
        if one.ndim != other.ndim and prod(one.shape) != prod(other.shape):
            return f"outputs of {shapes}"
        if one.ndim and one.shape[0] == size != other.shape[0]:
            return f"{other.shape[0]} outputs for {size} samples: {shapes}"
    return None


def _other_number(outputs: Any, size: int) -> str | None:
    return None if len(outputs) == size else f"{len(outputs)} outputs for {size} samples"


def _told(outputs: Any, arrays: list[Any]) -> str:
    if len(arrays) == 1 and arrays[0] is outputs:
        return described(outputs)
    count = {0: "no tensor", 1: "1 tensor"}.get(len(arrays), f"{len(arrays)} tensors")
    return f"{described(outputs)} with {count}"
