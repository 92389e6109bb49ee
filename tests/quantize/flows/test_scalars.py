"""A number that a tensor is multiplied with or added to does not make the tensor's own scale coarser."""

import pytest
import torch
from builders import batches, toy_variant
from quantizable import anything
from torch import nn

from pytest_quant import Recipe
from pytest_quant.variant.sqnr import sqnr

x = torch.randn(16, 8, generator=torch.Generator().manual_seed(1))


class Scaled(nn.Module):
    """A layer's outputs `y` and what is computed of them."""

    def __init__(self, change):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.relu, self.change = nn.Linear(8, 8), nn.ReLU(), change

    def forward(self, x):
        y = self.layer(x)
        return y - 0.5, self.change(self, y)


CHANGES = {
    "y * 100": lambda self, y: y * 100.0,
    "100 * y": lambda self, y: 100.0 * y,
    "y + 100": lambda self, y: y + 100.0,
    "torch.mul": lambda self, y: torch.mul(y, 100.0),
    "y.mul": lambda self, y: y.mul(100.0),
    "-10000 * y": lambda self, y: y * -1e4,
    "with relu": lambda self, y: torch.relu(y * 100.0),
    "with nn.ReLU": lambda self, y: self.relu(y + 100.0),
    "twice": lambda self, y: (y * 10.0) * 10.0,
    "and transposed": lambda self, y: (y * 100.0).transpose(0, 1).transpose(0, 1),
}


def noises(change, kind="static"):
    """SQNR of `y` and of what is computed of it."""
    recipe = Recipe(kind, flow="fx", **({"lr": 1e-6} if kind == "qat" else {}))
    variant = toy_variant(
        recipe,
        model=Scaled(change).eval(),
        metric=anything,
        loss=lambda outputs, targets: outputs[1].sum(),
        train_data=batches(seed=3),
    )
    return [sqnr(*pair) for pair in zip(variant.fp32(x), variant(x), strict=True)]


@pytest.mark.parametrize("kind", ["static", "qat"])
@pytest.mark.parametrize("change", CHANGES)
def test_both_keep_their_precision(change, kind):
    assert min(noises(CHANGES[change], kind)) > 18


def test_what_is_concatenated_keeps_one_range():
    assert min(noises(lambda self, y: torch.cat([y, y + 3.0], dim=1))) > 18
