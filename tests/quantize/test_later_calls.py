"""Later calls: flow parts quantizes what the first eval batch does not call."""

import pytest
import torch
from builders import ONE_THREAD, kept_db, open_store, toy_subject
from torch import nn

from pytest_quant import Recipe, load_variant


class Experts(nn.Module):
    """A router, and experts for samples whose first number is below and above zero."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.router = nn.Linear(8, 3)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(8, 40), nn.ReLU(), nn.Linear(40, 3)) for _ in range(3)
        )

    def forward(self, x):
        out, sides = self.router(x), (x[:, 0] < 0, x[:, 0] > 0, x[:, 0] > 99)
        for expert, chosen in zip(self.experts, sides, strict=True):
            where = chosen.nonzero().flatten()
            if len(where):
                out = out.index_add(0, where, expert(x[where]))
        return out


def batches(model, seed):
    """All but the last are for the first expert alone."""
    random = torch.Generator().manual_seed(seed)
    signs = (-1, -1, -1, 1)
    data = [(torch.randn(16, 8, generator=random).abs() * sign) for sign in signs]
    with torch.no_grad():
        return [(x, model(x).argmax(1)) for x in data]


@pytest.fixture
def subject():
    model = Experts().eval()
    data = [batches(model, seed) for seed in (1, 2, 3)]
    return toy_subject(model, eval_data=data[0], calibration_data=data[1], train_data=data[2])


def test_an_expert_that_later_data_calls_becomes_int8(subject, tmp_path):
    variant = open_store(ONE_THREAD).variant(subject, Recipe("static", flow="parts"))
    stayed = variant.int8_share.stayed_fp32
    assert not [name for name in stayed if not name.startswith("experts.2")]
    last = subject.eval_data[-1][0]
    with torch.inference_mode(), variant.running():
        expected, own = variant.fp32.model(last), variant(last)
    assert (expected - own).norm() < 0.2 * expected.norm()
    assert kept_db(variant) > 20
    path = variant.save(tmp_path / "experts.pt")
    loaded = load_variant(path, Experts().eval())
    with variant.running():
        assert torch.equal(loaded.model(last), variant(last))


def test_what_calibration_does_not_reach_stays_fp32(subject):
    recipe = Recipe("static", flow="parts", calibration_samples=32)
    variant = open_store(ONE_THREAD).variant(subject, recipe)
    assert {"experts.1.0", "experts.1.2"} <= {*variant.int8_share.stayed_fp32}
    assert kept_db(variant) > 20


def test_training_leaves_what_the_first_batch_does_not_call(subject):
    recipe = Recipe("qat", flow="parts", epochs=1, lr=1e-6)
    variant = open_store(ONE_THREAD).variant(subject, recipe)
    assert {"experts.1.0", "experts.1.2"} <= {*variant.int8_share.stayed_fp32}
    assert kept_db(variant) > 20


class Changing:
    """Data whose order is another one each time."""

    def __init__(self, data):
        self.data, self.passes = data, 0

    def __iter__(self):
        self.passes += 1
        return iter(self.data[::-1] if self.passes % 2 else self.data)


def test_an_expert_that_only_another_order_of_the_data_calls_stays_fp32(subject):
    data = Changing(subject.calibration_data)
    subject = toy_subject(subject.model, eval_data=subject.eval_data, calibration_data=data)
    recipe = Recipe("static", flow="parts", calibration_samples=32)
    for _ in range(2):
        variant = open_store(ONE_THREAD).variant(subject, recipe)
        assert kept_db(variant) > 20
        data.passes += 1
