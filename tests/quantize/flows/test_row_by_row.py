"""Row by row: a batch is filled up only where no sample changes another's outputs."""

import pytest
import torch
from builders import ONE_THREAD, kept_db, open_store, toy_subject
from torch import nn

from pytest_quant import Recipe
from pytest_quant.errors import QuantStageError
from pytest_quant.quantize.flows.row_by_row import is_row_by_row
from pytest_quant.variant.sqnr import sqnr

STEPS = 8


class LessItsMean(nn.Module):
    """Subtracts the batch's mean, in another form of outputs each."""

    def __init__(self, form):
        super().__init__()
        self.form = form

    def forward(self, x):
        x = x - x.mean(0)
        if self.form == "masked":
            return torch.where(torch.arange(x.shape[1]) == 1, -float("inf"), x)
        return (9 * x).long() if self.form == "integers" else x


class TimeFirst(nn.Module):
    """Outputs of shape [steps, samples, 5], as those that CTC takes."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.hidden, self.head = nn.Linear(12, 48), nn.Linear(48, 5)

    def forward(self, x):
        return self.head(torch.relu(self.hidden(x))).transpose(0, 1)


class Across(TimeFirst):
    """A row for each of what comes in, and each of them attends to all."""

    def forward(self, x):
        y = torch.relu(self.hidden(x)).transpose(0, 1)
        return self.head(nn.functional.scaled_dot_product_attention(y, y, y).transpose(0, 1))


class Detector(nn.Module):
    """Goes through the images one by one, so that a trace of it has one size of a batch."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 8, 1)

    def forward(self, images):
        found = self.head(torch.relu(self.body(torch.stack([each * 2 for each in images]))))
        return [{"scores": found[i].flatten(1).mean(1)} for i in range(len(images))]


def steps(sizes, seed=0):
    random = torch.Generator().manual_seed(seed)
    inputs = [torch.randn(size, STEPS, 12, generator=random) for size in sizes]
    return [(x, torch.zeros(len(x), dtype=torch.long)) for x in inputs]


def images(sizes, seed=0):
    random = torch.Generator().manual_seed(seed)
    inputs = [torch.rand(size, 3, 8, 8, generator=random) for size in sizes]
    return [(x, torch.zeros(len(x), dtype=torch.long)) for x in inputs]


@pytest.mark.parametrize(
    ("model", "shape", "expected"),
    [
        (nn.Linear(12, 5), (8, 12), True),
        (nn.Linear(12, 5), (1, 12), True),
        (nn.BatchNorm1d(12), (2, 12), True),
        (TimeFirst(), (STEPS, STEPS, 12), False),  # as many steps as samples
        (Across(), (8, 4, 12), False),
        (nn.BatchNorm1d(12, track_running_stats=False), (8, 12), False),
        (nn.Flatten(0), (8, 12), False),
        (nn.Unflatten(0, (4, 2)), (8, 12), False),
        (nn.Unflatten(0, (8, 1)), (8, 12), True),  # which takes no other batch
    ],
)
def test_rows_that_others_do_not_change(model, shape, expected):
    argument = {"input": torch.randn(shape)}
    if isinstance(model, TimeFirst):
        argument = {"x": argument["input"]}
    model.train()
    assert is_row_by_row(model, argument, shape[0]) is expected
    assert model.training


@pytest.mark.parametrize("form", ["plain", "masked", "integers"])
@pytest.mark.parametrize("batch", [2, 3, 8])
def test_what_is_taken_over_the_batch_is_seen_in_outputs_of_any_form(form, batch):
    values = {"x": torch.randn(batch, 5)}
    assert not is_row_by_row(LessItsMean(form), values, batch)
    nothing = {"input": torch.full((batch, 5), float("nan"))}
    assert is_row_by_row(nn.Identity(), nothing, batch)


def metric_of_steps(outputs, targets):
    """Wants the samples in the second place."""
    assert outputs.shape[:2] == (STEPS, len(targets))
    return 1.0 - float(outputs.mean().abs()) / 100


metric_of_steps.higher_is_better = True


@pytest.mark.parametrize("kind", ["static", "qat"])
def test_as_many_steps_as_samples_in_the_first_batch(kind):
    subject = toy_subject(
        TimeFirst().eval(),
        eval_data=steps((8, 8, 3)),
        calibration_data=steps((8, 8), 1),
        train_data=steps((8, 8), 2),
        metric=metric_of_steps,
        loss=lambda outputs, targets: outputs.square().mean(),
    )
    recipe = Recipe(kind, flow="pt2e", **({"epochs": 1, "lr": 1e-6} if kind == "qat" else {}))
    variant = open_store(ONE_THREAD).variant(subject, recipe)
    assert kept_db(variant) > 20
    with torch.inference_mode(), variant.running():
        for x, _ in subject.eval_data:
            assert sqnr(variant.fp32.model(x), variant(x)) > 20


def closeness(outputs, targets):
    return 1 - float((outputs - targets).abs().mean()) / 100


closeness.higher_is_better = True


def test_what_attends_across_rows_is_filled_up_with_none():
    data, others = (
        [(torch.randn(n, 4, 12), torch.zeros(n, 4, 5)) for n in (8, 8, 5)] for _ in range(2)
    )
    variant = open_store(ONE_THREAD).variant(
        toy_subject(Across().eval(), eval_data=data, calibration_data=others, metric=closeness),
        Recipe("static", flow="pt2e"),
    )
    with torch.inference_mode(), variant.running():
        for x, _ in data:
            assert sqnr(variant.fp32.model(x), variant(x)) > 20


@pytest.mark.parametrize("as_list", [False, True])
def test_a_trace_of_one_size_of_a_batch_goes_to_a_flow_that_takes_all(as_list):
    subject = toy_subject(
        Detector().eval(),
        eval_data=images((8, 8, 3)),
        calibration_data=images((8, 8), 1),
        metric=lambda outputs, targets: (
            sum(int(o["scores"].argmax() == t) for o, t in zip(outputs, targets, strict=True))
            / len(targets)
        ),
        forward=(lambda model, x: model(list(x))) if as_list else None,
    )
    store = open_store(ONE_THREAD)
    found = "8 tensors a call and none of 3" if as_list else r"shape \[8, 3, 8, 8\] and none of \[3"
    with pytest.raises(QuantStageError, match=f"takes .*{found}"):
        store.variant(subject, Recipe("static", flow="pt2e"))
    variant = store.variant(subject, Recipe("static"))
    assert variant.recipe.flow == "parts"
    assert "torch.fx docs" not in variant.notes[0]
    assert len(variant.evaluation) == 19
