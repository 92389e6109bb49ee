"""A sample's score must not depend on its batch, and a mean not be of all pairs."""

import pytest
import torch
from builders import ONE_THREAD, batches
from torch.nn import functional as F

from pytest_quant import Metric, QuantStageError, Subject
from pytest_quant.store.open import open_store


class Column(torch.nn.Module):
    """Gives the sum of the inputs as a column, [n, 1]."""

    def forward(self, x):
        return x.sum(1, keepdim=True)


def columns(flat):
    """(inputs [n, 8], their sums with some noise: [n], or [n, 1])."""
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(64, 8, generator=generator)
    y = x.sum(1, keepdim=True) + 0.1 * torch.randn(64, 1, generator=generator)
    y = y.squeeze(1) if flat else y
    return list(zip(x.split(16), y.split(16), strict=True))


def squared(outputs, targets):
    return (outputs - targets).square().flatten(1).mean(1)


METRICS = {
    "of samples": squared,
    "their mean": lambda o, y: (o - y).square().mean(),
    "by a function": lambda o, y: ((o - y) ** 2).mean().item(),
    "absolute": lambda o, y: (o - y).abs().mean(-1),
}


def known(metric, model, data):
    subject = Subject(
        model, "toy", eval_data=data, metric=Metric(metric, "mine", higher_is_better=False)
    )
    return open_store(ONE_THREAD).fp32(subject).evaluation


@pytest.mark.parametrize("name", METRICS)
def test_outputs_that_broadcast_with_targets_are_an_error(name):
    with pytest.raises(QuantStageError) as caught:
        known(METRICS[name], Column(), columns(flat=True))
    assert r"targets.reshape(outputs.shape)" in str(caught.value)
    assert "Outputs [16, 1] and targets [16] broadcast." in str(caught.value)


@pytest.mark.parametrize("name", METRICS)
def test_the_same_metrics_score_columns_with_columns(name):
    assert known(METRICS[name], Column(), columns(flat=False)).values["mine"] < 0.1


@pytest.mark.parametrize(
    "metric",
    [
        lambda o, y: (o.squeeze(1) - y).square(),
        lambda o, y: (o.reshape(y.shape) - y).square().mean(),
        lambda o, y: F.mse_loss(o[:, 0], y),
        lambda o, y: (o[:, 0] - y).square().mean().sqrt() / 10,
    ],
)
def test_a_metric_that_takes_the_column_away_is_as_good(metric):
    assert known(metric, Column(), columns(flat=True)).values["mine"] < 0.05


@pytest.mark.parametrize(
    "metric",
    [
        lambda o, y: -F.log_softmax(o, 0).gather(1, y[:, None])[:, 0],
        lambda o, y: (o - o.mean(0)).square().mean(1) + F.cross_entropy(o, y, reduction="none"),
        lambda o, y: F.cross_entropy(o, y, reduction="none") / F.cross_entropy(o, y),
    ],
)
def test_scores_that_depend_on_the_batch_are_an_error(metric):
    class First(torch.nn.Module):
        def forward(self, x):
            return x[:, :3]

    with pytest.raises(
        QuantStageError, match=r"a sample .* alone and .* batch of 8\. A mean, a soft"
    ):
        known(metric, First(), batches(64))


def test_outputs_in_an_object_broadcast_as_well():
    class Named(Column):
        def forward(self, x):
            return {"logits": super().forward(x)}

    with pytest.raises(QuantStageError, match="compares each output with every target"):
        known(lambda o, y: (o["logits"] - y).square().mean(), Named(), columns(flat=True))


def test_scores_of_masks_without_a_channel_are_as_good():
    class Mask(torch.nn.Module):
        def forward(self, x):
            return x[:, :4].reshape(-1, 1, 2, 2)

    def f1(outputs, targets):
        found, meant = outputs.squeeze(1) > 0, targets > 0
        return 2 * (found & meant).sum() / (found.sum() + meant.sum())

    data = [(x, (x[:, :4].reshape(-1, 2, 2) > 0.2).long()) for x, _ in columns(flat=True)]
    subject = Subject(Mask(), "toy", eval_data=data, metric=Metric(f1, "f1"))
    assert open_store(ONE_THREAD).fp32(subject).evaluation.values["f1"] > 0.8


def test_a_mean_that_is_of_the_whole_batch_is_left_to_its_author():
    class First(torch.nn.Module):
        def forward(self, x):
            return x[:, :3]

    def spread(outputs, targets):
        return F.cross_entropy(outputs, targets) + outputs.std()

    assert known(spread, First(), batches(64)).values["mine"] > 0


def f1(outputs, targets):
    named, are = outputs.argmax(1) == 0, targets == 0
    return float(2 * (named & are).sum() / (named.sum() + are.sum()))


def told(metric):
    subject = Subject(Softened(), "toy", eval_data=batches(), metric=Metric(metric, "mine"))
    return [note for note in open_store(ONE_THREAD).fp32(subject).notes if "mean over" in note]


class Softened(torch.nn.Module):
    """Wrong where the class is not clear."""

    def forward(self, x):
        return x[:, :3] + 0.7 * x[:, 3:6]


def test_one_number_for_a_batch_that_is_no_mean_is_told():
    (note,) = told(f1)
    assert note.startswith(
        "mine gives one number for a batch, and is no mean over samples: FP32 has"
    )
    assert note.endswith("give an object with update, compute and reset")


@pytest.mark.parametrize(
    "metric",
    [
        lambda o, y: (o.argmax(1) == y).float().mean(),
        lambda o, y: (o.argmax(1) == y).half().mean(),
        lambda o, y: o.argmax(1) == y,
    ],
)
def test_a_mean_over_samples_is_as_good_as_scores(metric):
    assert told(metric) == []
