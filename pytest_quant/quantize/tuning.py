"""Tuning: how a prepared model learns the ranges of its activations before it is converted."""

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from pytest_quant.errors import QuantStageError, listed
from pytest_quant.machine.progress import Progress
from pytest_quant.quantize import calibrate, train, wishes
from pytest_quant.quantize.clipping import source_of
from pytest_quant.quantize.flows.example import example_of
from pytest_quant.quantize.flows.flow import unobserved
from pytest_quant.quantize.tuned import Tuned
from pytest_quant.subject.batches import call
from pytest_quant.subject.subject import Admitted
from pytest_quant.variant.recipe import Recipe

INNER = re.compile(r"(activation_post_process(?:_\d+)?)\..*")  # of a fake-quantize module
Run = Callable[[Any, Admitted, Recipe, str, Progress], Tuned]


@dataclass(frozen=True, slots=True)
class Tuning:
    """By calibration or by training.

    Args:
        stage: its name.
        source: what the samples come from, for a person.
        run: tunes in place.
        trains: whether the weights change too.
    """

    stage: str
    source: str
    run: Run
    trains: bool = False

    def check(self, admitted: Admitted, recipe: Recipe) -> None:
        """Say what is missing, and what would have no effect, before anything is built."""
        if not self.trains:
            calibrate.calibration_source(admitted.subject)
        elif admitted.subject.train is not None and admitted.subject.qat_state is None:
            wishes.refuse_training_of_ours(recipe)
        example_of(copy.deepcopy(admitted.module), admitted)  # or no flow can trace the call

    def refuse_unobserved(self, prepared: Any, admitted: Admitted) -> None:
        """Observers that the model uses must have seen something; it need not use all that it has."""
        if not unobserved(prepared):
            return
        probe = copy.deepcopy(prepared).eval()
        with torch.no_grad():
            call(probe, admitted.first_inputs, admitted.subject.forward)
        unused = set(unobserved(probe))
        unseen = [name for name in unobserved(prepared) if name not in unused]
        if unseen:
            raise QuantStageError(
                self.stage,
                f"observers saw nothing ({listed(_sources(prepared, unseen), 3)}), so the ranges of those "
                f"activations are unknown; {self.source} must run the whole model.",
            )


def _sources(prepared: Any, observers: list[str]) -> list[str]:
    """What observers look at, by the user's names; one may stand inside another, and those of weights stand
    beside those of activations."""
    activations = [name for name in observers if "weight_fake_quant" not in name]
    outer = (INNER.sub(r"\1", name) for name in activations or observers)
    return list(dict.fromkeys(source_of(prepared, name) for name in outer))


CALIBRATION = Tuning("calibrate", "the calibration data", calibrate.calibrate)
TRAINING = Tuning("train", "quant_train", train.train, trains=True)
