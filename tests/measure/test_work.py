"""Work: shares of the multiply-adds by kind of layer, counted by hand."""

import pytest
import torch
from builders import toy_variant

from pytest_quant import Recipe
from pytest_quant.measure import work
from pytest_quant.measure.work import work_of


class Everything(torch.nn.Module):
    """8 inputs as 4 steps of 2: a layer of each kind."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv1d(2, 3, 1, bias=False)
        self.gru = torch.nn.GRU(3, 5, batch_first=True)
        self.attention = torch.nn.MultiheadAttention(5, 1, batch_first=True)
        self.fc = torch.nn.Linear(5, 3)

    def forward(self, x):
        x, _ = self.gru(self.conv(x.reshape(-1, 4, 2).transpose(1, 2)).transpose(1, 2))
        x, _ = self.attention(x, x, x, need_weights=False)
        return self.fc(x[:, -1])


def test_each_kind_has_its_share():
    conv, gru = 4 * 2 * 3, 4 * 3 * 5 * (3 + 5)  # four steps; three gates, from input and state
    attention = 4 * 4 * 5 * 5  # four projections; scores and their sums have no weight
    total = conv + gru + attention + 5 * 3
    assert work_of(toy_variant(model=Everything()).fp32) == pytest.approx(
        {
            "convolution": conv / total,
            "linear": 5 * 3 / total,
            "recurrent": gru / total,
            "attention": attention / total,
        }
    )


def test_a_variant_has_the_work_of_its_fp32():
    assert work_of(toy_variant("dynamic")) == {
        "convolution": 0.0,
        "linear": 1.0,
        "recurrent": 0.0,
        "attention": 0.0,
    }


def test_it_is_counted_once(monkeypatch):
    variant = toy_variant()
    first = work_of(variant)
    monkeypatch.setattr(work, "multiply_adds", lambda variant: pytest.fail("counted again"))
    assert work_of(variant.fp32) is first


def test_of_a_model_without_such_layers_nothing_is_known():
    class Scale(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(3))

        def forward(self, x):
            return x[:, :3] * self.scale

    recipe = Recipe("custom", build=lambda module: module)
    assert work_of(toy_variant(recipe, model=Scale())) is None
