"""The sweep: size, shares, accuracy and drop of many models, as bare PyTorch counts them."""

import multiplied
import pytest
import recount
import torch
from builders import ONE_THREAD, threads
from swept import MODELS, inputs, labelled, made

from pytest_quant import Recipe, Subject
from pytest_quant.report.rows import row_of
from pytest_quant.store.open import open_store

CALIBRATED = (64,)  # samples in one batch


@pytest.fixture(autouse=True)
def one_thread():
    """As everything is measured here; bits differ between numbers of threads."""
    with threads(1):
        yield


def reported(variant, fp32):
    """What a report says: after all has been measured."""
    _ = fp32.size, variant.size, variant.int8_share, variant.evaluation
    row = row_of(variant)
    (metric,) = row.metrics
    return {
        "bytes": row.size.tensor_bytes,
        "FP32's bytes": row.fp32_size,
        "file": row.size.file_bytes,
        "parameters": row.int8_share.parameters,
        "multiply-adds": row.int8_share.macs,
        "accuracy": metric.value,
        "drop": metric.drop,
    }


def recounted(variant, fp32, data, idle):
    """The same by bare PyTorch, from the modules alone."""
    built, before, first = variant.model, fp32.model, data[0][0]
    accuracy = recount.right(built, data)
    return {
        "bytes": recount.size(built, idle),
        "FP32's bytes": recount.size(before, idle),
        "file": recount.file(built),
        "parameters": recount.int8_parameters(before, built, idle),
        "multiply-adds": multiplied.int8_macs(built, first) / multiplied.fp32_macs(before, first),
        "accuracy": accuracy,
        "drop": recount.right(before, data) - accuracy,
    }


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # PyTorch's, of its own deprecations
@pytest.mark.parametrize("name", MODELS)
def test_what_is_reported_is_what_bare_pytorch_counts(name):
    swept, model = MODELS[name], made(name)
    data = labelled(name, model)
    tuning = [
        (given, torch.zeros(len(data), dtype=torch.long)) for given in inputs(name, 2, CALIBRATED)
    ]
    store, subject = (
        open_store(ONE_THREAD),
        Subject(model, name, eval_data=data, calibration_data=tuning),
    )
    recipes = [Recipe("static", flow=swept.flow, keep_fp32=swept.keep_fp32)]
    if swept.is_swappable:
        recipes.append(Recipe("dynamic", keep_fp32=swept.keep_fp32))
    fp32 = store.fp32(subject)
    for recipe in recipes:
        variant = store.variant(subject, recipe, recipe.kind)
        bare = recounted(variant, fp32, data, swept.idle)
        assert reported(variant, fp32) == pytest.approx(bare, rel=0, abs=1e-12)
        assert bare["multiply-adds"] > 0


def test_the_sweep_is_wide():
    assert len(MODELS) >= 40
