"""A small CNN with random weights and its static int8 variant, timed as the plugin times them."""

import json

import torch

from pytest_quant.machine.conditions import Conditions
from pytest_quant.machine.environment import environment
from pytest_quant.store.open import open_store
from pytest_quant.subject.subject import Subject
from pytest_quant.variant.recipe import Recipe
from pytest_quant.variant.rounds import Pair

BATCH = 4
SIDE = 32  # pixels


class RealPairs:
    """Makes pairs of fresh copies, each as the gate makes them to confirm a FAIL.

    Args:
        threads: PyTorch's. Two on two cores that others use too would measure the others.
        seed: of weights and inputs.
    """

    def __init__(self, threads: int, seed: int) -> None:
        self.conditions = Conditions(threads=threads)
        torch.manual_seed(seed)
        model = small_cnn().eval()
        subject = Subject(
            model, "small CNN", eval_data=random_batches(1), calibration_data=random_batches(8)
        )
        store = open_store(self.conditions)
        self._static = store.variant(subject, Recipe("static")).pair()
        self._own = store.fp32(subject).pair()

    def machine(self) -> str:
        """What these numbers were measured on."""
        return json.dumps(environment(self.conditions))

    def static(self) -> Pair:
        """FP32 and static int8."""
        return self._static.remade()

    def own_copy(self) -> Pair:
        """FP32 and FP32."""
        return self._own.remade()


def random_batches(count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Noise with labels that mean nothing; only the shapes matter for the speed."""
    return [(torch.randn(BATCH, 3, SIDE, SIDE), torch.arange(BATCH) % 10) for _ in range(count)]


def small_cnn() -> torch.nn.Sequential:
    """Six convolutions, 32 to 128 channels, and one linear layer."""
    layers: list[torch.nn.Module] = []
    channels = 3
    for wide, stride in ((32, 1), (32, 1), (64, 2), (64, 1), (128, 2), (128, 1)):
        layers += [
            torch.nn.Conv2d(channels, wide, 3, stride, 1, bias=False),
            torch.nn.BatchNorm2d(wide),
            torch.nn.ReLU(),
        ]
        channels = wide
    pooled = (torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    return torch.nn.Sequential(*layers, *pooled, torch.nn.Linear(channels, 10))
