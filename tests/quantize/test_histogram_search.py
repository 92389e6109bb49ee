"""Our HistogramObserver finds the range of PyTorch's, bit for bit, and every flow takes it."""

import copy
import importlib
import pickle

import pytest
import torch
from builders import threads
from quantizable import Convolutional, built, images, made
from torch.ao.quantization.observer import HistogramObserver

from pytest_quant import Recipe
from pytest_quant.machine.conditions import known_warnings_silenced
from pytest_quant.quantize.flows.inductor_quantizer import config_of
from pytest_quant.quantize.observers import activation_observer, looking_up
from pytest_quant.quantize.qconfigs import layer_observers

STACKS = ("torch.ao.quantization.observer", "torchao.quantization.pt2e.observer")
SHAPES = {
    "normal": lambda x: x,
    "of a ReLU": torch.relu,
    "heavy tails": lambda x: x * torch.exp(2 * x.flip(0)),
    "few values": lambda x: x[:30],
    "an outlier": lambda x: torch.cat([x, torch.tensor([500.0])]),
    "clamped": lambda x: x.clamp(0, 0.5),
    "one value": lambda x: torch.full((7,), 0.3),
    "zeros": torch.zeros_like,
    "tiny": lambda x: x * 1e-30,
    "huge": lambda x: x * 1e15,
    "two lumps": lambda x: torch.where(x > 0, x + 100, x),
}


@pytest.fixture(params=STACKS)
def stack(request):
    """The module of observers of one stack after the other."""
    pytest.importorskip(request.param.partition(".")[0])
    with known_warnings_silenced():
        yield importlib.import_module(request.param)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_range_is_pytorchs(stack, shape):
    own = activation_observer("histogram", stack).with_args(reduce_range=True)()
    other = stack.HistogramObserver(reduce_range=True)
    torch.manual_seed(0)
    for _ in range(3):
        values = SHAPES[shape](torch.randn(2_000))
        for observer in (own, other):
            observer(values)
    both = own.calculate_qparams(), other.calculate_qparams()
    assert all(torch.equal(found, expected) for found, expected in zip(*both, strict=True))


def test_what_saw_nothing_is_as_pytorchs(stack):
    own, other = activation_observer("histogram", stack)(), stack.HistogramObserver()
    with pytest.warns(UserWarning, match="must run observer"):
        assert own.calculate_qparams() == other.calculate_qparams()


def test_it_is_one_of_pytorchs_and_can_be_copied(stack):
    own = activation_observer("histogram", stack)()
    own(torch.randn(100))
    assert isinstance(own, stack.HistogramObserver)
    for copied in (copy.deepcopy(own), pickle.loads(pickle.dumps(own))):
        assert type(copied) is type(own)
        assert torch.equal(copied.calculate_qparams()[0], own.calculate_qparams()[0])


def test_it_takes_the_place_of_pytorchs_and_of_nothing_else(stack):
    own = activation_observer("histogram", stack)
    assert looking_up(stack.HistogramObserver, stack) is own
    given = looking_up(stack.HistogramObserver.with_args(bins=512), stack)()
    assert type(given) is own
    assert given.bins == 512
    other = stack.MinMaxObserver.with_args(eps=1e-4)
    assert looking_up(other, stack) is other


@pytest.mark.parametrize("engine", ["x86", "onednn", "fbgemm", "qnnpack"])
@pytest.mark.parametrize("given", [{}, {"observer": "histogram"}])
def test_static_recipes_get_it(engine, given):
    with known_warnings_silenced():
        found = layer_observers(Recipe("static", **given), engine).activation(None)
    assert type(found).__name__ == "HistogramObserver"
    assert type(found) is not HistogramObserver


def test_so_does_flow_pt2e():
    config = config_of(Recipe("static", flow="pt2e"))
    found = config.input_activation.observer_or_fake_quant_ctr()
    assert type(found).__name__ == "HistogramObserver"
    assert type(found).__module__.startswith("pytest_quant")


@pytest.mark.parametrize("flow", ["fx", pytest.param("pt2e", marks=pytest.mark.slow)])
def test_the_built_model_has_the_bits_of_pytorchs(flow, monkeypatch):
    with threads(1):
        own = built(made(Convolutional), Recipe("static", flow=flow), images)
        for module in ("qconfigs", "flows.inductor_quantizer"):
            name = f"pytest_quant.quantize.{module}.looking_up"
            monkeypatch.setattr(name, lambda made, observers: made)
        other = built(made(Convolutional), Recipe("static", flow=flow), images)
        probe = own.admitted.first_inputs
        with own.running():
            assert torch.equal(own.model(probe), other.model(probe))
