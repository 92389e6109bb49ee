"""Reserved names: a submodule that no graph can hold is named, and auto goes round it."""

import pytest
import torch
from quantizable import built, decibels, made
from torch import nn

from pytest_quant import QuantStageError, Recipe


class Holding(nn.Module):
    """A convolution, a Linear under some name, and a head, on [n, 3, 12, 12]."""

    def __init__(self, name):
        super().__init__()
        self.name = name
        self.conv = nn.Conv2d(3, 8, 3)
        self.add_module(name, nn.Linear(8, 8))
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        hidden = torch.relu(self.conv(x)).mean((2, 3))
        return self.head(torch.relu(self.get_submodule(self.name)(hidden)))


@pytest.mark.parametrize("flow", ["fx", "pt2e", "onnx"])
@pytest.mark.parametrize("name", ["meta", "graph", "code", "recompile", "shape_env", "lambda"])
def test_a_name_that_no_graph_can_have_is_told_with_what_to_do(name, flow):
    with pytest.raises(QuantStageError, match=rf"{name}.* rename it"):
        built(made(lambda: Holding(name)), Recipe("static", flow=flow))


@pytest.mark.parametrize(("name", "flow"), [("meta", "parts"), ("qconfig", "pt2e"), ("x", "fx")])
def test_auto_takes_a_flow_that_does_without_the_name(name, flow):
    variant = built(made(lambda: Holding(name)), "static")
    assert variant.recipe.flow == flow
    assert variant.int8_share.macs == 1
    assert decibels(variant) > 25


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.heads = nn.ModuleDict({"class": nn.Linear(8, 5), "box": nn.Linear(8, 4)})
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, x):
        return self.heads["box"](torch.relu(self.conv(x)).mean((2, 3)))


def test_a_head_that_is_not_run_may_be_called_as_a_word_of_the_grammar():
    assert built(made(Unused), Recipe("static", flow="fx")).recipe.flow == "fx"


def test_deeper_down_a_module_may_be_called_as_a_graph_is():
    assert built(made(lambda: nn.Sequential(Holding("meta"))), "static").recipe.flow == "fx"
