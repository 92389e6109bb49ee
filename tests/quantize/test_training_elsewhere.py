"""QAT that trains on another device, or was trained elsewhere, ends in what training here gives."""

import pytest
import torch
from builders import tiny_linear
from torch import nn

from pytest_quant import Conditions, QuantStageError, Recipe, Subject, open_store
from pytest_quant.quantize import device as devices


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(16, 3)

    def forward(self, x):
        x = torch.relu(self.norm(self.conv(x.reshape(-1, 1, 4, 4))))
        return self.head(x.flatten(1))


def data(seed, samples=64):
    x = torch.randn(samples, 16, generator=torch.Generator().manual_seed(seed))
    return list(zip(x.split(16), x[:, :3].argmax(1).split(16), strict=True))


def normed(**parts):
    torch.manual_seed(0)
    return Subject(Normed().eval(), eval_data=data(1), **parts)


def qat(subject, conditions=None, **fields):
    return open_store(conditions or Conditions(threads=1)).variant(subject, Recipe("qat", **fields))


def outputs(variant):
    return variant(torch.randn(32, 16, generator=torch.Generator().manual_seed(9)))


@pytest.fixture
def recorded(monkeypatch):
    """Devices that the model and its batches are moved to."""
    seen, to = [], nn.Module.to

    def of_module(self, *args, **kwargs):
        seen.append(("model", str(args[0])))
        return to(self, *args, **kwargs)

    moved = devices.moved

    def of_batch(batch, device):
        seen.append(("batch", device))
        return moved(batch, device)

    monkeypatch.setattr(nn.Module, "to", of_module)
    monkeypatch.setattr("pytest_quant.quantize.train.moved", of_batch)
    return seen


@pytest.mark.parametrize("by", ["recipe", "conditions"])
def test_the_loop_trains_where_it_is_told_and_is_judged_on_the_cpu(recorded, by):
    subject = normed(train_data=data(2))
    if by == "recipe":
        there = qat(subject, device="cpu:0", flow="fx")
    else:
        there = qat(subject, Conditions(threads=1, train_device="cpu:0"), flow="fx")
    start = recorded.index(("model", "cpu:0"))
    end = recorded.index(("model", "cpu"), start)
    # inputs and targets of 4 batches in 2 epochs, between the model's ways there and back
    assert recorded[start + 1 : end] == [("batch", "cpu:0")] * (2 * 4 * 2)
    assert ("batch", "cpu:0") not in recorded[end:]
    here = qat(normed(train_data=data(2)), flow="fx")
    assert torch.equal(outputs(there), outputs(here))
    assert {p.device.type for p in there.fake_quantized.parameters()} == {"cpu"}


def test_a_device_that_is_not_there_is_an_error_that_says_what_to_do():
    with pytest.raises(
        QuantStageError, match=r"device='cuda:7' cannot be trained on: .* to train on"
    ):
        qat(normed(train_data=data(2)), device="cuda:7", flow="fx")
    with pytest.raises(QuantStageError, match="device='abacus' cannot be trained on"):
        qat(normed(train_data=data(2)), device="abacus", flow="fx")


def test_a_device_says_nothing_to_other_kinds_and_to_loops_of_ones_own():
    with pytest.raises(ValueError, match="device='cuda' does not apply to kind='static'"):
        Recipe("static", device="cuda")
    with pytest.raises(TypeError, match="device is 0; expected PyTorch's name"):
        Recipe("qat", device=0)
    with pytest.raises(QuantStageError, match="device='cuda' of the recipe has no effect"):
        qat(normed(train=lambda model: None), device="cuda")


def test_a_recipe_with_a_device_reads_back():
    recipe = Recipe("qat", device="cuda")
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    assert "device" not in Recipe("qat").to_dict()


@pytest.mark.parametrize("flow", ["fx", "parts"])
@pytest.mark.parametrize("as_file", [False, True])
def test_a_state_that_was_trained_elsewhere_gives_the_same_bits(flow, as_file, tmp_path):
    here = qat(normed(train_data=data(2)), flow=flow)
    state = {name: tensor.clone() for name, tensor in here.fake_quantized.state_dict().items()}
    if as_file:
        torch.save(state, tmp_path / "qat.pt")
        state = tmp_path / "qat.pt"
    there = qat(normed(qat_state=state), flow=flow)
    assert torch.equal(outputs(here), outputs(there))
    assert any("quant_qat_state was trained elsewhere" in note for note in there.notes)
    untrained = qat(normed(train_data=data(2)), flow=flow, lr=1e-12)
    assert not torch.equal(outputs(untrained), outputs(there))


def test_no_loop_runs_beside_a_state():
    state = qat(normed(train_data=data(2)), flow="fx").fake_quantized.state_dict()
    subject = normed(
        qat_state=state, train=lambda model: pytest.fail("trained"), train_data=data(2)
    )
    assert qat(subject, flow="fx").recipe.kind == "qat"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (3, "quant_qat_state is int; expected the state dict"),
        ({"first": 1}, "quant_qat_state is dict; expected the state dict"),
        ("nowhere.pt", "quant_qat_state names the file nowhere.pt, which cannot be read"),
        (tiny_linear().state_dict(), "another model than quant_qat_state is of: .* not there, "),
        ({}, "not there"),
    ],
)
def test_something_else_than_its_state_is_refused(given, told):
    with pytest.raises(QuantStageError, match=told):
        qat(normed(qat_state=given), flow="fx")


def test_shapes_and_numbers_of_a_state_are_looked_at():
    state = dict(qat(normed(train_data=data(2)), flow="fx").fake_quantized.state_dict())
    narrow = state | {"head.weight": torch.zeros(3, 8)}
    with pytest.raises(
        QuantStageError, match=r"head\.weight has shape \[3, 8\] in place of \[3, 16\]"
    ):
        qat(normed(qat_state=narrow), flow="fx")
    with pytest.raises(QuantStageError, match=r"NaN or infinity in head\.weight"):
        qat(normed(qat_state=state | {"head.weight": torch.full((3, 16), torch.nan)}), flow="fx")


def test_with_the_flow_left_open_the_one_that_fits_is_taken():
    state = qat(normed(train_data=data(2)), flow="parts").fake_quantized.state_dict()
    assert qat(normed(qat_state=state)).recipe.flow in ("fx", "parts")
    with pytest.raises(
        QuantStageError, match=r"no flow takes quant_model.*flow fx prepares another"
    ):
        qat(normed(qat_state={"x": torch.zeros(1)}))


def test_a_loop_of_ones_own_may_leave_the_model_where_it_was_trained(monkeypatch):
    moves, cpu = [], nn.Module.cpu
    monkeypatch.setattr(nn.Module, "cpu", lambda self: (moves.append(1), cpu(self))[1])

    def train(model):
        for parameter in model.parameters():
            parameter.data += 1e-3
        model(data(3)[0][0])

    qat(normed(train=train), flow="fx")
    assert moves
