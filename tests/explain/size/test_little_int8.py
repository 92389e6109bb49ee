"""Little int8: no recipe is proposed for a limit on the int8 share that it cannot hold either."""

import pytest
import torch
from builders import toy_variant
from torch import nn

from pytest_quant import Recipe
from pytest_quant.explain.causes import cause
from pytest_quant.judge.size_limit import judge_int8_share


def told(variant, limit, **how):
    verdict = judge_int8_share(variant, limit, **how)
    assert not verdict.passed
    return cause(verdict, variant) or ""


@pytest.mark.parametrize("recipe", [Recipe("static"), Recipe("static", keep_fp32=("0",))])
def test_a_limit_above_all_weights_is_out_of_reach(recipe):
    text = told(toy_variant(recipe), 0.95)
    assert "are about 90.25 % of the parameters" in text  # 176 of 195
    assert "cannot hold a limit above that" in text
    assert "Recipe(" not in text


def test_what_was_kept_is_given_back_where_that_holds_the_limit():
    text = told(toy_variant(Recipe("static", keep_fp32=("0",))), 0.9)
    assert text.startswith("keep_fp32 keeps 0")
    assert 'Recipe("static")' in text
    assert "cannot hold" not in text


class Convolving(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv1d(1, 16, 3), nn.Linear(16, 3)

    def forward(self, x):
        return self.head(torch.relu(self.conv(x[:, None])).mean(-1))


@pytest.mark.parametrize(("limit", "is_in_reach"), [(0.8, True), (0.95, False)])
def test_dynamic_is_sent_to_static_only_where_static_could_hold_the_limit(limit, is_in_reach):
    torch.manual_seed(0)
    text = told(toy_variant("dynamic", model=Convolving().eval()), limit)
    assert text.startswith("Dynamic quantization covers Linear")
    assert ('Recipe("static")' in text) is is_in_reach
    assert ("cannot hold a limit above that" in text) is not is_in_reach


def test_a_limit_on_multiply_adds_is_not_held_against_parameters():
    text = told(toy_variant(Recipe("static", keep_fp32=("0",))), 0.95, of="macs")
    assert 'Recipe("static")' in text
