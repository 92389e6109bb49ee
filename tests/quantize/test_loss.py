"""Loss: the default cross-entropy is refused where it would train nonsense without a word."""

import pytest
import torch
from torch import nn

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
