"""Pasted: what is printed is Python that makes the same recipe."""

import pytest
import torch

from pytest_quant import Recipe
from pytest_quant.explain.remedies.as_python import as_python

DEFAULT = torch.backends.quantized.engine


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe("static"),
        Recipe("static", observer="percentile", keep_fp32=("features.17.conv.1", "classifier.1")),
        Recipe("static", per_channel=False, flow="pt2e"),
        Recipe("static", keep_fp32=(torch.nn.LSTM,)),
        Recipe("qat", epochs=3, lr=3e-5),
        Recipe("weight_only", dtype="codebook", bits=3),
        Recipe("weight_only"),
    ],
)
def test_it_reads_back_as_the_same_recipe(recipe):
    assert eval(as_python(recipe), {"Recipe": Recipe, "torch": torch}) == recipe


def test_what_would_be_taken_anyway_is_left_out():
    assert as_python(Recipe("static", flow="fx", engine=DEFAULT)) == 'Recipe("static")'
    assert (
        as_python(Recipe("static", flow="pt2e", engine="onednn")) == 'Recipe("static", flow="pt2e")'
    )
    assert as_python(Recipe("static", engine="qnnpack")) == 'Recipe("static", engine="qnnpack")'
    assert as_python(Recipe("weight_only")) == 'Recipe("weight_only")'
    assert as_python(Recipe("static", keep_fp32=("fc",))) == 'Recipe("static", keep_fp32=["fc"])'
