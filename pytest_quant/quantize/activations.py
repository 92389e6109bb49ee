"""Activations: which observer sees them."""

from typing import Any

from pytest_quant.variant.recipe import Recipe

PYTORCHS = {
    "minmax": "MinMaxObserver",
    "moving_average": "MovingAverageMinMaxObserver",
}


def observer_class(name: str, module: Any) -> Any:
    """The observer of a recipe's name, derived from the classes of one of PyTorch's two stacks.

    Args:
        name: as in `Recipe.observer`.
        module: ``torch.ao.quantization.observer`` or ``torchao.quantization.pt2e.observer``.
    """
    if name in PYTORCHS:
        return getattr(module, PYTORCHS[name])
    from pytest_quant.quantize.observers import activation_observer

    return activation_observer(name, module)


def class_name(name: str) -> str:
    """What the class of a recipe's observer is called, in both stacks."""
    if name in PYTORCHS:
        return PYTORCHS[name]
    from pytest_quant.quantize.observers import OBSERVERS

    return str(OBSERVERS[name].__name__.removeprefix("_"))


def default_observer(recipe: Recipe) -> str:
    """The recipe's observer, else PyTorch's choice for the kind."""
    return recipe.observer or ("moving_average" if recipe.kind == "qat" else "histogram")
