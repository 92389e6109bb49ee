"""Conversion gap: the fake-quantized model is scored until its seconds are over, the note says on what."""

import pytest
import torch
from torch import nn

from pytest_quant.machine.conditions import Conditions
from pytest_quant.measure import accuracy
from pytest_quant.store.open import open_store
from pytest_quant.subject.subject import Subject
from pytest_quant.variant.recipe import Recipe


class Fixed(nn.Module):
    """Stands for a fake-quantized model: always names the first class."""

    def forward(self, x):
        return torch.eye(4)[torch.zeros(len(x), dtype=torch.long)]


@pytest.fixture
def qat():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)).eval()
    inputs = torch.randn(64, 8)
    targets = model(inputs).argmax(1)
    data = list(zip(inputs.split(16), targets.split(16), strict=True))
    train = [(torch.randn(16, 8), torch.randint(4, (16,)))]
    subject = Subject(model, eval_data=data, train_data=train)
    variant = open_store(Conditions(threads=1)).variant(subject, Recipe("qat", epochs=1))
    variant.fake_quantized = Fixed()
    variant.share_of_first = [float((y == 0).double().mean()) for _, y in data]
    return variant


def gap_notes(variant):
    return [note for note in variant.notes if "fake-quantized and" in note]


def test_a_fast_one_is_scored_on_all_samples(qat):
    share = sum(qat.share_of_first) / 4
    assert qat.evaluation.fake_quantized == {"top-1": share}
    (note,) = gap_notes(qat)
    assert note.startswith(f"top-1 is {100 * share:.2f} % fake-quantized and ")
    assert note.endswith(" converted; the converted model is judged")


def test_a_slow_one_is_scored_on_a_part_beside_the_converted_one_on_the_same(qat, monkeypatch):
    monkeypatch.setattr(accuracy, "FAKE_QUANTIZED_SECONDS", 0.0)
    evaluation = qat.evaluation
    assert evaluation.fake_quantized is None
    first = qat.subject.eval_data[0]
    right = float((qat.forward(first[0]).argmax(1) == first[1]).double().mean())
    assert gap_notes(qat) == [
        f"top-1 is {100 * qat.share_of_first[0]:.2f} % fake-quantized and {100 * right:.2f} % converted on "
        "16 of 64 samples; the converted model is judged"
    ]
