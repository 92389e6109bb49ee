"""Many architectures become int8 and still compute what they did; see `zoo`."""

import pytest
import torch
from torch import nn
from torchvision.models import VisionTransformer
from zoo import KINDS, PAGE, failures, page
from zoo_models import ALL, classifiers, why_not
from zoo_models.entry import Entry, images
from zoo_models.fared import Figures, fared

from pytest_quant.store import weighing

# Far below what random weights give, far above a broken build's 0 dB.
MIN_SQNR, MIN_SQNR_BETWEEN = 10, 5
MIN_DYNAMIC_SQNR = 20
MIN_TRAINED_SQNR = 10  # of the int8 model against the one that was trained
MOST_FAILURES = 3  # on the page
# What FX leaves of these is int8 where there are minutes to compile them.
WITH_ATTENTION = ("swin_t", "swin_v2_t", "vit_b_16", "vit_b_32")


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_an_architecture_is_built_and_computes_what_fp32_does(name, monkeypatch):
    if name in WITH_ATTENTION:
        monkeypatch.setattr(weighing, "SECONDS", 0.0)
    if (why := why_not(name)) is not None:
        pytest.skip(why)
    it = fared(ALL[name], ("static", "dynamic"))
    assert it.failed == {}
    static, dynamic = it.made["static"], it.made["dynamic"]
    assert static.finite
    assert static.sqnr > MIN_SQNR
    assert static.sqnr_between > MIN_SQNR_BETWEEN
    if ALL[name].library == "torchvision" and name not in WITH_ATTENTION:
        assert static.parameters > 0.9
        assert static.macs > 0.9
        assert static.mb < 0.34 * it.fp32_mb
    if isinstance(dynamic, Figures):
        assert dynamic.sqnr > MIN_DYNAMIC_SQNR
        assert dynamic.parameters > 0.02


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "squeezenet1_1"])
def test_what_was_trained_is_what_runs(name):
    (trained,) = fared(ALL[name], ("qat",)).made.values()
    assert trained.sqnr > MIN_TRAINED_SQNR


@pytest.mark.slow
def test_of_attention_too():
    """A small model: of ViT-B/32 alone it takes two minutes."""

    def made():
        torch.manual_seed(0)
        sizes = {"image_size": 32, "patch_size": 8, "hidden_dim": 64, "mlp_dim": 128}
        model = VisionTransformer(**sizes, num_layers=4, num_heads=4, num_classes=10)
        nn.init.normal_(model.heads.head.weight, std=0.02)  # which is left at zero
        return model.eval()

    entry = Entry("small vit", "torchvision", made, lambda count, seed: images(count, 32, seed))
    (trained,) = fared(entry, ("qat",)).made.values()
    assert trained.sqnr > MIN_TRAINED_SQNR


def test_the_page_has_rows_of_these_models_and_few_failures():
    text = PAGE.read_text(encoding="utf-8")
    rows = [line.split("|") for line in text.splitlines() if line.startswith("|")]
    names = [cells[1].strip() for cells in rows[2:]]  # below the heads and their rule
    assert names == [name for name in ALL if name in names]
    assert {name for name, entry in ALL.items() if entry.library == "torchvision"} <= {*names}
    failed = text.partition("## Failures")[2].partition("##")[0]
    assert failed.count("\n- ") <= MOST_FAILURES


def test_the_zoo_is_large_and_no_library_is_needed_to_name_it():
    assert len(ALL) >= 45
    assert {entry.library for entry in ALL.values()} == {"torchvision", "timm", "transformers"}


def test_what_is_missing_is_told():
    found = {
        "a": {"error": "timm is not installed"},
        "b": {"fp32_mb": 1.0, "made": dict.fromkeys(KINDS, "no"), "failed": {"qat": "no"}},
    }
    assert failures(found) == ["a: timm is not installed", "b, qat: no"]
    assert "# 2 architectures" in page(found)


def test_a_made_up_model_is_seeded_and_tells_images_apart():
    batch = images(4, 64, seed=1)
    first, again = (classifiers.model("squeezenet1_1", 64)(batch) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.allclose(first[0], first[1])
    norms = of_batchnorm(classifiers.model("mnasnet0_5", 64))
    assert all(norm.bias.eq(1).all() for norm in norms)


def of_batchnorm(module):
    return [child for child in module.modules() if isinstance(child, nn.BatchNorm2d)]
