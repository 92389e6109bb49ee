"""A flow that makes another model of it while it traces is refused, and another one takes it."""

import pytest
import torch
from builders import toy_variant
from torch import nn

from pytest_quant import QuantStageError, Recipe
from pytest_quant.variant.sqnr import sqnr


class TwoWays(nn.Module):
    """One layer, with a ReLU behind it and without: FX fuses the ReLU into both."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.head, self.relu = nn.Linear(8, 8), nn.Linear(8, 3), nn.ReLU()

    def forward(self, x):
        return self.head(self.relu(self.layer(x)) - self.layer(x))


@pytest.mark.parametrize("kind", ["static", "qat"])
def test_fx_is_refused_where_it_gives_a_layer_a_relu_that_it_has_not(kind):
    with pytest.raises(QuantStageError, match="flow fx makes another model of quant_model"):
        toy_variant(Recipe(kind, flow="fx"), model=TwoWays().eval(), train_data=[])


def test_another_flow_takes_it_and_the_report_says_why():
    variant = toy_variant(Recipe("static", flow="auto"), model=TwoWays().eval())
    assert variant.recipe.flow in ("pt2e", "parts")
    assert any("fx makes another model" in note for note in variant.notes)
    x = variant.admitted.first_inputs
    with torch.no_grad():
        assert sqnr(variant.fp32.model(x), variant(x)) > 25
