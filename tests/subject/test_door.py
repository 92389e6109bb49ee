"""Door: FP32 has to be what it was when it was admitted, whoever had it in hand."""

import math

import pytest
import torch
from builders import ONE_THREAD, batches, open_store, tiny_linear, toy_subject
from torch import nn

from pytest_quant import Recipe
from pytest_quant.errors import QuantStageError
from pytest_quant.subject.door import distance

X = batches()[0][0]


@pytest.fixture
def store():
    return open_store(ONE_THREAD)


class WithDropout(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.drop = tiny_linear(), nn.Dropout(0.6)

    def forward(self, x):
        return self.body(self.drop(x))


def scaled(model):
    with torch.no_grad():
        model[0].weight.mul_(1.01)


def without_activation(model):
    model[1] = nn.Identity()


def slow(model):
    model.forward = lambda x: nn.Sequential.forward(model, x)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (scaled, "its outputs for the same inputs differ by"),
        (without_activation, "its module 1 was ReLU and is Identity"),
        (slow, "forward of Sequential was replaced"),
        (lambda model: model.half(), "it cannot run any more"),
    ],
)
def test_fp32_that_a_test_has_changed_is_an_error_that_names_the_test(store, change, what):
    subject = toy_subject()
    fp32 = store.fp32(subject)
    fp32.admitted.door.held_by("test_a.py::test_that_changes_it")
    change(fp32.model)
    with pytest.raises(
        QuantStageError, match=f"during the run: {what}.*test_a.py::test_that_changes"
    ):
        store.variant(subject, Recipe("dynamic"))
    with pytest.raises(QuantStageError, match="changed during the run"):
        _ = fp32.evaluation


def test_who_had_it_later_is_not_blamed(store):
    subject = toy_subject()
    fp32 = store.fp32(subject)
    fp32.admitted.door.held_by("first")
    scaled(fp32.model)
    with pytest.raises(QuantStageError, match="it was used by first\\."):
        fp32.pair()
    fp32.admitted.door.held_by("second")
    with pytest.raises(QuantStageError, match="it was used by first\\."):
        _ = fp32.evaluation


def test_a_change_of_the_last_bits_is_a_note(store):
    subject = toy_subject()
    fp32 = store.fp32(subject)
    with torch.no_grad():
        fp32.model[0].weight.mul_(1 + 1e-6)
    store.variant(subject, Recipe("dynamic"))
    assert [note[:16] for note in fp32.admitted.door.notes] == ["FP32's last bits"]


def test_train_mode_that_a_test_has_left_does_not_count_and_is_left_to_it(store):
    subject = toy_subject(WithDropout().eval())
    right = open_store(ONE_THREAD).fp32(subject).evaluation
    fp32 = store.fp32(subject)
    fp32.model.train()
    fp32.model.requires_grad_(False)
    dynamic = store.variant(subject, Recipe("dynamic"))
    dynamic.model.train()
    assert (fp32.evaluation.outputs == right.outputs).all()
    assert torch.equal(dynamic(X), dynamic(X))
    assert fp32.model.training
    assert not fp32.model.body[0].weight.requires_grad
    assert dynamic.model.training


def test_a_model_that_keeps_a_part_in_train_mode_stays_so(store):
    class Frozen(WithDropout):
        def train(self, mode=True):
            super().train(mode)
            self.body.train(True)
            return self

    fp32 = store.fp32(toy_subject(Frozen().eval()))
    fp32.model.requires_grad_(True).train(True)
    with fp32.running():
        assert fp32.model.body.training
        assert not fp32.model.drop.training


def test_hooks_that_a_test_has_left_are_not_timed(store):
    fp32 = store.fp32(toy_subject())
    called = []
    fp32.model[0].register_forward_hook(lambda *_: called.append("FP32"))
    dynamic = store.variant(toy_subject(), Recipe("dynamic"))
    dynamic.model[0].register_forward_pre_hook(lambda *_: called.append("dynamic"))
    pair = dynamic.pair()
    called.clear()
    pair.a.call()
    pair.b.call()
    assert not called
    assert len(fp32.model[0]._forward_hooks) == 1


def test_an_input_that_a_model_writes_into_stays_as_it_was(store):
    class Halving(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = tiny_linear()

        def forward(self, x):
            return self.body(x.mul_(0.5))

    data, untouched = batches(), batches()
    variant = store.variant(toy_subject(Halving().eval(), eval_data=data), Recipe("dynamic"))
    assert len(variant.evaluation) == 32
    assert all(torch.equal(x, y) for (x, _), (y, _) in zip(data, untouched, strict=True))


@pytest.mark.parametrize(
    ("before", "now", "apart"),
    [
        ([1.0, -4.0], [1.0, -4.0], 0.0),
        ([1.0, -4.0], [1.0, -4.004], 0.001),
        ([0.0, 0.0], [0.0, 1e-9], math.inf),
        ([math.nan, 2.0], [math.nan, 2.0], 0.0),
        ([math.inf, 2.0], [math.inf, 1.0], 0.5),
        ([math.inf, 2.0], [-math.inf, 2.0], math.inf),
        ([1.0, 2.0], [math.nan, 2.0], math.inf),
        ([1.0], [1.0, 2.0], math.inf),
    ],
)
def test_distance_is_a_share_of_the_largest_value(before, now, apart):
    assert distance([torch.tensor(before)], [torch.tensor(now)]) == pytest.approx(apart, rel=1e-4)


def test_integers_have_to_be_equal_and_each_tensor_counts_by_itself():
    assert distance([torch.tensor([7])], [torch.tensor([8])]) == math.inf
    boxes, scores = torch.tensor([640.0]), torch.tensor([0.5])
    assert distance([boxes, scores], [boxes, scores + 0.05]) == pytest.approx(0.1)
    assert distance([boxes], []) == math.inf


class WithScript(nn.Module):
    """Holds what was scripted, without weights."""

    def __init__(self):
        super().__init__()
        self.body, self.clip = tiny_linear(), torch.jit.script(nn.Hardtanh(-2.0, 2.0))

    def forward(self, x):
        return self.clip(self.body(x))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*")
@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_a_scripted_activation_inside_is_no_obstacle(store, kind):
    variant = store.variant(toy_subject(WithScript().eval()), Recipe(kind))
    assert variant.int8_share.macs == 1.0
    assert len(variant.evaluation) == 32
