"""Wishes: what a recipe asks for is what is built; what would have no effect is refused."""

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from pytest_quant.errors import QuantStageError
from pytest_quant.quantize.activations import class_name
from pytest_quant.quantize.flows.flow import FlowRefusal, observers_of
from pytest_quant.variant.recipe import Recipe
from pytest_quant.variant.tensors import plain_tensors, state_of, tensors_of


def refuse_training_of_ours(recipe: Recipe) -> None:
    """Settings of the built-in loop say nothing to a loop of the user's.

    Raises:
        QuantStageError: one of them is given.
    """
    for name in ("epochs", "lr", "device"):
        if (given := getattr(recipe, name)) != _default(name):
            raise QuantStageError(
                "train",
                f"{name}={given!r} of the recipe has no effect: quant_train is a loop of your own. Set it "
                f"there and leave {name} out, or give quant_train_data alone for the built-in loop.",
            )


def refuse_too_few(recipe: Recipe, seen: int, fixture: str) -> None:
    """More samples than there are cannot calibrate; the default means as many as there are.

    Raises:
        QuantStageError: the recipe asks for more than were seen.
    """
    asked = recipe.calibration_samples
    if seen < asked != _default("calibration_samples"):
        raise QuantStageError(
            "calibrate",
            f"calibration_samples={asked} is more than the {seen} samples of {fixture}. Give more data, "
            f"or a number up to {seen}.",
        )


def refuse_other_observers(prepared: Any, recipe: Recipe, flow: str) -> None:
    """The activations of a prepared model are observed as the recipe asks.

    Raises:
        FlowRefusal: none is.
    """
    if recipe.observer is None and recipe.qscheme is None:
        return
    import torch

    seen = [
        each
        for each in observers_of(prepared).values()
        if getattr(each, "dtype", None) in (torch.quint8, torch.uint8)
        and getattr(each, "qscheme", None) in (torch.per_tensor_affine, torch.per_tensor_symmetric)
    ]
    kinds = [type(each).__name__ for each in seen]
    if recipe.observer is not None and class_name(recipe.observer) not in kinds:
        raise _unused(
            "observer", recipe.observer, flow, "no activation of quant_model has a range to find"
        )
    if recipe.qscheme is not None and getattr(torch, recipe.qscheme) not in [
        e.qscheme for e in seen
    ]:
        raise _unused(
            "qscheme", recipe.qscheme, flow, "no activation of quant_model has a range to find"
        )


def refuse_other_scales(converted: Any, recipe: Recipe, flow: str) -> None:
    """With `per_channel=False` a built model's weights have one scale each, those of embeddings apart.

    Raises:
        FlowRefusal: they have more, or there are none but embeddings'.
    """
    if recipe.per_channel:
        return
    import torch

    schemes = {tensor.qscheme() for tensor in _quantized(converted)}
    if torch.per_channel_affine in schemes or torch.per_channel_symmetric in schemes:
        raise FlowRefusal("convert", flow, "gives weights a scale for each channel in any case")
    if schemes and schemes <= {torch.per_channel_affine_float_qparams}:
        raise _unused(
            "per_channel",
            False,
            flow,
            "embeddings alone became int8, which have a scale for each row",
        )


def _quantized(model: Any) -> Iterable[Any]:
    held = [*tensors_of(state_of(model)), *(tensor for _, tensor in plain_tensors(model))]
    return [tensor for tensor in held if tensor.is_quantized and tensor.ndim > 1]


def _unused(name: str, given: Any, flow: str, why: str) -> QuantStageError:
    return FlowRefusal(
        "prepare", flow, f"has no use for {name}={given!r}: {why}", f"Leave {name} out."
    )


def _default(name: str) -> Any:
    return next(each.default for each in fields(Recipe) if each.name == name)
