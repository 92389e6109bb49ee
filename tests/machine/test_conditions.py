"""Conditions: seeded and alike inside, as before outside."""

import contextlib
import random
import warnings

import numpy as np
import pytest
import torch
from builders import threads
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from pytest_quant.machine.conditions import Conditions, available_cores, engine_set, isolated

ENGINES = [name for name in torch.backends.quantized.supported_engines if name != "none"]


@pytest.fixture(autouse=True)
def two_threads():
    with threads(2):
        yield


def shuffled_loader(seed=5):
    generator = torch.Generator().manual_seed(seed)
    data = TensorDataset(torch.arange(20))
    return DataLoader(data, batch_size=5, shuffle=True, generator=generator)


def state():
    """All that a run could leave behind."""
    return (
        torch.get_rng_state().tolist(),
        str(np.random.get_state()),
        random.getstate(),
        torch.get_num_threads(),
        torch.backends.quantized.engine,
        torch.is_grad_enabled(),
        list(warnings.filters),
    )


def upset():
    """Change all of it."""
    torch.rand(3)
    np.random.rand(3)
    random.random()
    torch.set_num_threads(1)
    torch.backends.quantized.engine = next(
        name for name in ENGINES if name != torch.backends.quantized.engine
    )
    torch.set_grad_enabled(False)
    warnings.simplefilter("always")


@pytest.mark.parametrize("error", [None, KeyError, KeyboardInterrupt])
def test_everything_is_restored_even_when_the_body_raises(error):
    before = state()
    with contextlib.suppress(KeyError, KeyboardInterrupt), isolated(Conditions(threads=1)):
        upset()
        assert [a != b for a, b in zip(state(), before, strict=True)] == [True] * len(before)
        if error:
            raise error
    assert state() == before


def test_grad_mode_is_restored_from_either_side():
    with torch.no_grad():
        with isolated(Conditions(threads=1)):
            torch.set_grad_enabled(True)
        assert not torch.is_grad_enabled()


@pytest.mark.parametrize("error", [None, KeyError])
def test_a_loaders_own_generator_is_restored(error):
    loader = shuffled_loader()
    sampler = RandomSampler(range(4), generator=torch.Generator().manual_seed(3))
    sampled = DataLoader(TensorDataset(torch.arange(4)), sampler=sampler)
    before = (loader.generator.get_state(), sampler.generator.get_state())
    with (
        contextlib.suppress(KeyError),
        isolated(Conditions(threads=1), loaders=(loader, sampled, None)),
    ):
        list(loader)
        list(sampled)
        assert not torch.equal(loader.generator.get_state(), before[0])
        assert not torch.equal(sampler.generator.get_state(), before[1])
        if error:
            raise error
    assert torch.equal(loader.generator.get_state(), before[0])
    assert torch.equal(sampler.generator.get_state(), before[1])


def test_each_pass_over_a_shuffling_loader_has_the_same_order():
    passes, loader = [], shuffled_loader()
    for _ in range(2):
        with isolated(Conditions(threads=1), loaders=(loader,)):
            passes.append([batch.tolist() for (batch,) in loader])
    assert passes[0] == passes[1]


def test_inside_all_generators_start_at_the_seed():
    drawn = []
    for _ in range(2):
        with isolated(Conditions(threads=1, seed=7)):
            drawn.append((torch.rand(1).item(), np.random.rand(), random.random()))
        torch.rand(1)
    assert drawn[0] == drawn[1]
    with isolated(Conditions(threads=1, seed=8)):
        assert torch.rand(1).item() != drawn[0][0]


def test_inside_the_threads_are_those_asked_for():
    with isolated(Conditions(threads=1)):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


def test_only_known_warnings_are_silenced():
    with isolated(Conditions(threads=1)):
        warnings.warn("torch.ao.quantization is deprecated and will be", stacklevel=1)
        with pytest.raises(UserWarning, match="something else"):
            warnings.warn("something else", stacklevel=1)


@pytest.mark.parametrize("error", [None, KeyError])
def test_an_engine_is_set_for_a_while(error):
    before = torch.backends.quantized.engine
    other = next(name for name in ENGINES if name != before)
    with contextlib.suppress(KeyError), engine_set(other):
        assert torch.backends.quantized.engine == other
        if error:
            raise error
    assert torch.backends.quantized.engine == before


def test_threads_are_two_where_there_are_two_cores():
    assert Conditions().threads == min(2, available_cores())
