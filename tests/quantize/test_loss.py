"""Loss: the default cross-entropy is refused where it would train nonsense without a word, and what keeps
a loss from having a gradient is named."""

import pytest
import torch
from builders import batches, toy_variant
from torch import nn

from pytest_quant import Recipe
from pytest_quant.errors import QuantStageError
from pytest_quant.quantize.train import _cross_entropy

N = 6
LOGITS = torch.randn(N, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("outputs", "targets", "why"),
    [
        (torch.randn(N), torch.randn(N), "in which no axis holds classes"),
        (torch.randn(N), torch.ones(N).long(), "in which no axis holds classes"),
        (torch.randn(N, 1), torch.randn(N, 1), "with one class alone"),
        (torch.randn(N, 1), torch.zeros(N).long(), "with one class alone"),
        (LOGITS, torch.randn(N, 4), "that are no probabilities"),
        (LOGITS, torch.ones(N, 4), "that are no probabilities"),
        (LOGITS, torch.rand(N), "that are no probabilities"),
        (torch.randn(N, 5, 5), torch.zeros(N, 5).long(), "both axes could be the classes"),
    ],
)
def test_what_has_no_classes_is_refused_with_quant_loss(outputs, targets, why):
    with pytest.raises(QuantStageError, match=f"not meant for targets .*{why}.* quant_loss"):
        _cross_entropy(outputs, targets)


@pytest.mark.parametrize(
    ("outputs", "targets"),
    [
        (LOGITS, torch.tensor([0, 1, 2, 3, -100, 1])),
        (LOGITS, torch.softmax(LOGITS * 2, 1)),
        (torch.randn(N, 4, 5, 5), torch.zeros(N, 5, 5).long()),
        (torch.randn(N, 4, 4, 4), torch.zeros(N, 4, 4).long()),
        (torch.randn(N, 4, 7), torch.zeros(N, 7).long()),
    ],
)
def test_what_has_classes_is_trained(outputs, targets):
    expected = nn.functional.cross_entropy(outputs, targets)
    assert torch.equal(_cross_entropy(outputs, targets), expected)


class Running(nn.Module):
    """Computes as if it were only ever run."""

    def __init__(self, way):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
        self.way = way

    def forward(self, x):
        x = self.body(x)
        if float(x.detach().sum()) > 1e9:  # which flow fx cannot trace
            return x * 2
        return self.way(x)


@pytest.mark.parametrize("own", [None, lambda model: None], ids=["built-in loop", "own loop"])
@pytest.mark.parametrize("flow", ["fx", "pt2e"])
def test_frozen_parameters_are_named_and_not_the_loss(flow, own):
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)).eval()
    data = {"train_data": batches(64, seed=3)} if own is None else {"train": own}
    with pytest.raises(QuantStageError, match=r"are frozen .* Call model.requires_grad_\(True\)"):
        toy_variant(Recipe("qat", flow=flow), model=model.requires_grad_(False), **data)


def test_outputs_without_a_gradient_are_named_and_not_the_loss():
    model = Running(lambda x: x.detach()).eval()
    with pytest.raises(QuantStageError, match="outputs of quant_model carry no gradient"):
        toy_variant(Recipe("qat", flow="parts"), model=model, train_data=batches(64, seed=3))


class Auxiliary(nn.Module):
    """Gives a second output in training, as GoogLeNet does."""

    def __init__(self, make=lambda y: (y, y)):
        super().__init__()
        self.inner, self.make = nn.Linear(8, 3), make

    def forward(self, x):
        y = self.inner(x)
        return self.make(y) if self.training else y


@pytest.mark.parametrize(
    ("make", "form"),
    [
        (lambda y: (y, y), "a tuple of 2"),
        (lambda y: {"out": y, "aux": y}, r"a dict with \['aux', 'out'\]"),
        (lambda y: y[None], r"a Tensor of shape \[1, 16, 3\]"),
    ],
)
def test_a_loss_for_what_is_given_in_training_alone_is_told_that_qat_gives_the_eval_output(
    make, form
):
    def loss(outputs, targets):
        given = outputs["out"] if isinstance(outputs, dict) else outputs[0]
        return nn.functional.cross_entropy(given[None][0][:, :3], targets)

    with pytest.raises(QuantStageError, match=rf"In train mode quant_model gives {form}, but what"):
        toy_variant("qat", model=Auxiliary(make).eval(), train_data=batches(seed=3), loss=loss)


def test_of_one_form_in_both_modes_only_the_loss_is_spoken_of():
    def loss(outputs, targets):
        raise ValueError("planted")

    with pytest.raises(QuantStageError, match=r"planted\. Override the fixture quant_loss"):
        toy_variant("qat", train_data=batches(seed=3), loss=loss)
