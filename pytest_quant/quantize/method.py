"""Method: how the variants of one kind, by one flow, are made."""

from typing import Any, Protocol

from pytest_quant.machine.conditions import Conditions
from pytest_quant.quantize.built import Built
from pytest_quant.quantize.flows.example import Example
from pytest_quant.quantize.layer_observers import LayerObservers
from pytest_quant.subject.subject import Admitted
from pytest_quant.variant.facts import Facts
from pytest_quant.variant.recipe import Recipe


class Method(Protocol):
    """What every kind and flow offers; `registry` says which is whose."""

    def make(self, admitted: Admitted, recipe: Recipe, conditions: Conditions) -> Built:
        """The variant's model, of a copy of the FP32 model; random state and threads are set.

        Raises:
            QuantStageError: names the stage that failed, why, and a remedy.
        """

    def rebuild(self, module: Any, recipe: Recipe, example: Example) -> Any:
        """The structure that the recipe gives a module, for saved weights to go into.

        Args:
            module: a copy of the FP32 model, in eval mode; it is used up.
            recipe: with the flow and engine that were taken.
            example: a call with arguments like those that it was built with; their values are free.

        Raises:
            QuantStageError: when the module cannot be taken, or the engine is not in this PyTorch.
        """

    def facts(self, recipe: Recipe) -> Facts:
        """What can be said of its variants by this recipe."""

    def observers(self, recipe: Recipe) -> LayerObservers | None:
        """What sees each layer when ranges are calibrated; None where none are observed beforehand."""


class Attempt(Method, Protocol):
    """A method that may be one of several to try."""

    def refusal(self, module: Any, recipe: Recipe) -> str | None:
        """Why it cannot even try, in half a sentence; None when it can."""

    def attempt(
        self, admitted: Admitted, recipe: Recipe, engine: str, conditions: Conditions
    ) -> Built:
        """As `make`, without a look at what is missing.

        Args:
            engine: that the recipe, the run or PyTorch asks for.
        """
