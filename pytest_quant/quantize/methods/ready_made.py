"""Ready made: the method of ``artefact``, a file of another runtime that somebody has built."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_quant.errors import QuantStageError
from pytest_quant.machine.conditions import Conditions
from pytest_quant.quantize.built import Built
from pytest_quant.quantize.flows.example import Example
from pytest_quant.quantize.layer_observers import LayerObservers
from pytest_quant.quantize.stages import differs_from_itself, stage
from pytest_quant.runtimes.artefact import artefact_of
from pytest_quant.subject.subject import Admitted
from pytest_quant.variant.facts import Facts, Ranges
from pytest_quant.variant.recipe import Recipe


@dataclass(frozen=True, slots=True)
class ReadyMade:
    """Of the file it is known what its runtime tells."""

    def make(self, admitted: Admitted, recipe: Recipe, conditions: Conditions) -> Built:
        """As the protocol says."""
        seconds = dict[str, float]()
        path = Path(conditions.root, str(recipe.path))
        with stage("load", seconds):
            module = artefact_of(path, admitted, conditions.threads)
            if why := differs_from_itself(module, admitted, recipe, self.facts(recipe)):
                raise QuantStageError("load", f"{path} differs from itself: {why}")
        notes = tuple(f"{path.name} {note}" for note in module.fit.notes)
        return Built(module, recipe, seconds=seconds, notes=notes)

    def rebuild(self, module: Any, recipe: Recipe, example: Example) -> Any:
        """It is a file already."""
        raise QuantStageError("load", "its build is somebody else's")

    def facts(self, recipe: Recipe) -> Facts:
        """As the protocol says."""
        return Facts(recipe.kind, Ranges.UNKNOWN)

    def observers(self, recipe: Recipe) -> LayerObservers | None:
        """There are none."""
        return None
