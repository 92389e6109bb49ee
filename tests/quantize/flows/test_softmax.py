"""Attention's scores keep their precision beside a mask of great negative numbers."""

import pytest
import torch
from builders import batches, toy_variant
from torch import nn

from pytest_quant import Recipe
from pytest_quant.variant.sqnr import sqnr


class Attention(nn.Module):
    """8 inputs as 4 tokens of 2, of which each sees itself and those before it -> 3."""

    def __init__(self, mask, softmax):
        super().__init__()
        torch.manual_seed(0)
        self.query, self.key, self.value = (nn.Linear(2, 8) for _ in range(3))
        self.head, self.softmax, self.how = nn.Linear(8, 3), nn.Softmax(dim=-1), softmax
        self.register_buffer("mask", torch.full((4, 4), mask).triu(1))
        with torch.no_grad():
            self.query.weight.mul_(3)

    def forward(self, x):
        x = x.reshape(-1, 4, 2)
        scores = self.query(x) @ self.key(x).transpose(1, 2) + self.mask
        return self.head(self.how(self, scores) @ self.value(x)).mean(dim=1)


SOFTMAXES = {
    "nn.Softmax": lambda self, scores: self.softmax(scores),
    "F.softmax": lambda self, scores: nn.functional.softmax(scores, dim=-1),
    "torch.softmax": lambda self, scores: torch.softmax(scores, -1),
    "scores.softmax": lambda self, scores: scores.softmax(-1),
    "softmax(input=scores)": lambda self, scores: torch.softmax(input=scores, dim=-1),
}
x = torch.randn(64, 8, generator=torch.Generator().manual_seed(1))


def noise(mask, softmax, kind):
    recipe = Recipe(kind, flow="fx", **({"lr": 1e-6} if kind == "qat" else {}))
    model = Attention(mask, SOFTMAXES[softmax]).eval()
    variant = toy_variant(recipe, model=model, train_data=batches(seed=3))
    return sqnr(variant.fp32(x), variant(x))


@pytest.mark.parametrize("kind", ["static", "qat"])
@pytest.mark.parametrize("softmax", SOFTMAXES)
@pytest.mark.parametrize("mask", [-1e4, torch.finfo(torch.float32).min])
def test_a_mask_costs_no_precision(mask, softmax, kind):
    assert noise(mask, softmax, kind) > 20
