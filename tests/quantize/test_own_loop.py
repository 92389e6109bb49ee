"""Own loop: what `quant_train` feeds, returns and leaves is seen."""

import copy

import pytest
import torch
from builders import ONE_THREAD, batches, open_store, toy_subject
from torch import nn

from pytest_quant import Recipe
from pytest_quant.errors import QuantStageError

EVAL, TRAIN = 1, 3  # seeds


def steps(model, seed=TRAIN, take=lambda model, x: model(x)):
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    for x, y in batches(seed=seed):
        optimizer.zero_grad()
        nn.functional.cross_entropy(take(model, x), y).backward()
        optimizer.step()
    return model


def qat(train, **parts):
    return open_store(ONE_THREAD).variant(toy_subject(train=train, **parts), Recipe("qat"), "qat")


def in_a_copy(model):
    model(batches(seed=TRAIN)[0][0])  # so that all observers have seen something
    return steps(copy.deepcopy(model), EVAL)


def in_a_wrapper(model):
    steps(nn.DataParallel(model), EVAL)


def below_the_root(model):
    def through(model, x):
        for child in nn.Sequential(*model.children()):
            x = child(x)
        return x

    steps(nn.Sequential(model), EVAL)


@pytest.mark.parametrize("loop", [in_a_copy, in_a_wrapper, below_the_root])
def test_training_on_eval_data_is_seen(loop):
    variant = qat(loop)
    with pytest.raises(
        QuantStageError, match=r"qat was trained on eval data: 32 of .* quant_train gave"
    ):
        _ = variant.evaluation


def test_training_on_other_data_is_fine():
    variant = qat(steps)
    assert len(variant.tuned_on) == 32
    assert len(variant.evaluation) == 32
    assert not [note for note in variant.notes if "eval data" in note]


def test_a_look_at_eval_data_is_told_and_no_error():
    def train(model):
        steps(model)
        with torch.no_grad():
            for x, _ in batches(seed=EVAL):
                model.eval()(x)

    variant = qat(train)
    assert len(variant.evaluation) == 32
    assert any(note.startswith("quant_train also looked at eval data") for note in variant.notes)


def test_where_nothing_was_seen_it_is_said():
    variant = qat(lambda model: steps(model, EVAL, lambda model, x: model.forward(x)) and None)
    assert len(variant.evaluation) == 32
    assert any(note.startswith("what tuned it is not known: quant_train") for note in variant.notes)


class ByName(nn.Module):
    """Takes its inputs by name."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 3)

    def forward(self, pixels, scale=None, labels=None):
        return self.layer(pixels) * (1.0 if scale is None else scale)


def by_name(seed):
    return [({"pixels": x, "scale": torch.ones(len(x), 1)}, y) for x, y in batches(seed=seed)]


@pytest.mark.parametrize(
    "take",
    [
        lambda model, x: model(x, torch.ones(len(x), 1)),
        lambda model, x: model(x, scale=torch.ones(len(x), 1)),
        lambda model, x: model(scale=torch.ones(len(x), 1), pixels=x),
    ],
)
def test_inputs_are_known_however_they_are_passed(take):
    variant = qat(
        lambda model: steps(model, EVAL, take) and None,
        model=ByName().eval(),
        eval_data=by_name(EVAL),
    )
    with pytest.raises(QuantStageError, match="32 of 32 samples that quant_train gave"):
        _ = variant.evaluation


def test_inputs_that_quant_forward_changes_are_known_too():
    def forward(model, inputs):
        return model(inputs / 2)

    variant = qat(
        lambda model: steps(model, EVAL, lambda model, x: model(x / 2)) and None, forward=forward
    )
    with pytest.raises(QuantStageError, match="32 of 32 samples that quant_train gave"):
        _ = variant.evaluation
    fine = qat(lambda model: steps(model, TRAIN, forward) and None, forward=forward)
    assert len(fine.evaluation) == 32


def trained_copy(model):
    model(batches(seed=TRAIN)[0][0])
    return steps(copy.deepcopy(model))


@pytest.mark.parametrize(
    "returned",
    [
        lambda copied: copied,
        lambda copied: (copied, [0.5, 0.4]),
        lambda copied: {"model": copied, "epochs": 2},
        lambda copied: copied.state_dict(),
    ],
)
def test_a_trained_copy_that_is_returned_is_taken(returned):
    kept = []

    def train(model):
        kept.append(trained_copy(model))
        return returned(kept[0])

    variant = qat(train)
    pairs = zip(variant.fake_quantized.parameters(), kept[0].parameters(), strict=True)
    assert all(torch.equal(own, trained) for own, trained in pairs)
    given = variant.fp32.model[0].weight
    assert not any(torch.equal(own, given) for own in variant.fake_quantized.parameters())


def test_the_model_itself_or_a_wrapper_round_it_may_be_returned():
    for wrap in (lambda model: model, nn.DataParallel, lambda model: (model, trained_copy(model))):
        assert qat(lambda model, wrap=wrap: wrap(steps(model))).model is not None


@pytest.mark.parametrize(
    ("loop", "why"),
    [
        (
            lambda model: steps(model) and nn.Linear(8, 3),
            "returned a Linear that is no copy of the",
        ),
        (
            lambda model: [trained_copy(model), trained_copy(model)],
            "returned 2 models, none of which",
        ),
        (lambda model: trained_copy(model) and None, "left all weights .* as they were"),
        (lambda model: {"loss": 0.5, **{"x": model(batches()[0][0])}}, "left all weights"),
    ],
)
def test_what_cannot_be_taken_or_trains_nothing_is_an_error(loop, why):
    with pytest.raises(QuantStageError, match=f"train ERROR: quant_train {why}"):
        qat(loop)
