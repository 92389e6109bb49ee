"""Tuning: how a prepared model learns the ranges of its activations before it is converted."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from pytest_quant.errors import QuantStageError
from pytest_quant.machine.progress import Progress
from pytest_quant.quantize import calibrate, train, wishes
from pytest_quant.quantize.flows.example import example_of
from pytest_quant.quantize.flows.flow import unobserved
from pytest_quant.quantize.tuned import Tuned
from pytest_quant.subject.batches import call
from pytest_quant.subject.subject import Admitted
from pytest_quant.variant.recipe import Recipe

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
                f"{len(unseen)} observers saw nothing ({', '.join(unseen[:3])}), so the ranges of "
                f"those activations are unknown; {self.source} must run the whole model.",
            )


CALIBRATION = Tuning("calibrate", "the calibration data", calibrate.calibrate)
TRAINING = Tuning("train", "quant_train", train.train, trains=True)
