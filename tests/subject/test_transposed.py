"""Transposed: Conv1D of transformers becomes a Linear in our copy, and computes what it did."""

import copy

import pytest
import torch
from builders import ONE_THREAD, open_store
from torch import nn

from pytest_quant import Recipe, Subject, load_variant
from pytest_quant.subject.fp32_copy import fp32_copy
from pytest_quant.subject.transposed import as_linear


class Conv1D(nn.Module):
    """As transformers writes it."""

    def __init__(self, nf, nx):
        super().__init__()
        self.nf = nf
        self.weight = nn.Parameter(0.2 * torch.randn(nx, nf))
        self.bias = nn.Parameter(0.1 * torch.randn(nf))

    def forward(self, x):
        flat = torch.addmm(self.bias, x.view(-1, x.size(-1)), self.weight)
        return flat.view(*x.size()[:-1], self.nf)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = Conv1D(32, 8), Conv1D(8, 32)

    def forward(self, x):
        return x + self.down(torch.relu(self.up(x)))


class Outside(Block):
    """A block that is no model of transformers."""


Conv1D.__module__ = "transformers.pytorch_utils"
Block.__module__ = "transformers.models.gpt2.modeling_gpt2"
X = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))


def blocks():
    torch.manual_seed(0)
    return nn.Sequential(Block(), Block(), nn.Linear(8, 3)).eval()


def test_it_becomes_a_linear_with_the_same_outputs():
    model = blocks()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    copied, notes = fp32_copy(model)
    assert type(copied[0].up) is nn.Linear
    assert copied[0].up.nf == 32
    assert copied[0].up.weight.shape == (32, 8)
    torch.testing.assert_close(copied(X), model(X))
    (note,) = notes
    assert note.startswith("0.up, 0.down, 1.up, ... are Conv1D of transformers, a Linear")
    assert type(model[0].up) is Conv1D
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_layer_in_two_places_stays_one():
    model = blocks()
    model[1].up = model[0].up
    copied, _ = fp32_copy(model)
    assert copied[1].up is copied[0].up
    assert type(copied[0].up) is nn.Linear
    torch.testing.assert_close(copied(X), model(X))


def test_what_does_not_train_stays_so():
    model = blocks()
    model[0].up.weight.requires_grad_(False)
    copied, _ = fp32_copy(model)
    assert not copied[0].up.weight.requires_grad
    assert copied[0].up.bias.requires_grad


def tied(model):
    model[1].up.weight = model[0].up.weight


def hooked(model):
    for i in range(2):
        model[i].up.register_forward_hook(lambda module, inputs, outputs: 2 * outputs)


def forward_of_its_own(model):
    for i in range(2):
        model[i].up.forward = lambda x, layer=model[i].up: 2 * type(layer).forward(layer, x)


def in_other_code(model):
    model[0], model[1] = Outside(), Outside()


@pytest.mark.parametrize("change", [tied, hooked, forward_of_its_own, in_other_code])
def test_it_stays_where_more_than_its_call_may_matter(change):
    model = blocks()
    change(model)
    copied = copy.deepcopy(model)
    as_linear(copied)
    assert type(copied[0].up) is Conv1D
    torch.testing.assert_close(copied(X), model(X))


@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_it_is_quantized(tmp_path, kind):
    targets = X[:, :3].argmax(1)
    data = [(X[:32], targets[:32]), (X[32:], targets[32:])]
    subject = Subject(blocks(), eval_data=data, calibration_data=[torch.randn(64, 8)])
    variant = open_store(ONE_THREAD).variant(subject, Recipe(kind))
    assert variant.int8_share.macs == 1.0
    again = load_variant(variant.save(tmp_path / "v.pt"), blocks())
    assert torch.equal(again(X), variant.forward(X))
