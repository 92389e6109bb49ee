"""The samples that an explanation looks at are those that the gate is about."""

import torch
from builders import ONE_THREAD, loss, planted_variant, right, toy_variant

from pytest_quant import Recipe, Subject
from pytest_quant.explain import explain
from pytest_quant.explain.lost.telling_samples import probe_of
from pytest_quant.store.open import open_store


def test_half_of_it_are_samples_that_flip_wherever_they_are():
    own = right(300, of=300)
    own[280:290] = [0] * 10
    variant = planted_variant(right(300, of=300), own, size=30)
    _ = variant.evaluation
    numbers = probe_of(variant, 30)[:, 2].int().tolist()
    assert sorted(numbers)[-10:] == list(range(280, 290))
    assert sorted(numbers)[:-10] == list(range(10, 30))


def test_of_losses_those_that_change_most_are_looked_at():
    own = [0.001 * i for i in range(100)]
    own[77] = own[88] = 9.0
    variant = planted_variant([0.0] * 100, own, metric=loss(), size=4, targets=torch.zeros(100))
    _ = variant.evaluation
    assert probe_of(variant, 4)[:, 2].int().tolist()[-2:] == [77, 88]


def test_before_an_evaluation_it_is_the_first_batch():
    variant = toy_variant("static")
    assert torch.equal(probe_of(variant), variant.admitted.first_inputs[:32])


def test_samples_of_several_lengths_are_left_alone():
    class Mean(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = torch.nn.Linear(4, 2)

        def forward(self, x):
            return self.fc(x).mean(1)

    torch.manual_seed(0)
    data = [(torch.randn(8, n, 4), torch.randint(2, (8,))) for n in (3, 9, 5)]
    given = [torch.randn(8, 4, 4) for _ in range(4)]
    subject = Subject(Mean().eval(), eval_data=data, calibration_data=given)
    variant = open_store(ONE_THREAD).variant(subject, Recipe("static"))
    _ = variant.evaluation
    assert explain(variant).samples == 8


def test_a_fault_that_later_samples_alone_show_is_seen():
    """One feature is large in the last samples, which calibration has never seen."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4)
    ).eval()
    x = torch.randn(256, 8)
    x[200:, 0] *= 100
    with torch.no_grad():
        y = model(x).argmax(1)
    data = list(zip(x.split(32), y.split(32), strict=True))
    subject = Subject(model, eval_data=data, calibration_data=list(torch.randn(128, 8).split(32)))
    variant = open_store(ONE_THREAD).variant(subject, Recipe("static"))
    assert variant.evaluation.values["top-1"] < 1
    first = explain(variant).ranked[0]
    assert any("saturates" in word for word in first.words)
