"""torchvision's classifiers become int8 and still compute what they did; see `zoo`."""

import pytest
import torch
from torch import nn
from zoo import MODELS, PAGE, fared, images, model

# Far below what random weights give (14 dB and 9 dB at least), far above a broken build's 0 dB.
MIN_SQNR, MIN_SQNR_BETWEEN = 10, 5
MIN_DYNAMIC_SQNR = 20
# Static quantization leaves attention's own layers FP32; all else is convolutions and Linear.
WITH_ATTENTION = ("swin_t", "swin_v2_t", "vit_b_16", "vit_b_32")
WITHOUT_LINEAR = ("squeezenet1_0", "squeezenet1_1")


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_a_classifier_is_built_and_computes_what_fp32_does(name):
    it = fared(name)
    assert it.finite
    assert it.sqnr > MIN_SQNR
    assert it.sqnr_between > MIN_SQNR_BETWEEN
    if name in WITH_ATTENTION:
        assert it.parameters > 0.65
        assert 0.25 < it.macs < 0.8
        assert it.static_mb < 0.5 * it.fp32_mb
    else:
        assert it.parameters > 0.98
        assert it.macs == 1
        assert it.static_mb < 0.28 * it.fp32_mb
    if name in WITHOUT_LINEAR:
        assert it.dynamic_parameters is None
    else:
        assert it.dynamic_parameters > 0.02
        assert it.dynamic_sqnr > MIN_DYNAMIC_SQNR


def test_the_page_has_a_row_for_each_model():
    rows = [line.split("|") for line in PAGE.read_text(encoding="utf-8").splitlines()]
    names = [cells[1].strip() for cells in rows if len(cells) > 2]
    assert names[2:] == list(MODELS)  # below the heads and their rule


def test_a_made_up_model_is_seeded_and_tells_images_apart():
    batch = images(4, 64, seed=1)
    first, again = (model("squeezenet1_1", 64)(batch) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.allclose(first[0], first[1])
    assert all(norm.bias.eq(1).all() for norm in of_batchnorm(model("mnasnet0_5", 64)))


def of_batchnorm(module):
    return [child for child in module.modules() if isinstance(child, nn.BatchNorm2d)]
