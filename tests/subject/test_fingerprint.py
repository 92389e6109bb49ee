"""Fingerprint: two objects that are made alike are the same, and no others are."""

import copy
import functools
import threading
import types
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from pytest_quant import Metric, Subject
from pytest_quant.subject.fingerprint import known_fingerprint


class Scaled(nn.Module):
    """A module with a plain number, which is no part of its state dict."""

    def __init__(self, scale=1.0, inner=nn.ReLU):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(4, 3)
        self.act = inner()
        self.scale = scale

    def forward(self, x):
        return self.act(self.linear(x)) * self.scale


class Other(Scaled):
    """The same weights in another class."""


def loader(seed=0, batch=4, shuffle=False):
    x = torch.randn(16, 4, generator=torch.Generator().manual_seed(seed))
    return DataLoader(TensorDataset(x, x[:, 0] > 0), batch_size=batch, shuffle=shuffle)


def close_over(value):
    return lambda outputs, targets: outputs - value


def first(outputs, targets):
    return outputs[:, 0]


def second(outputs, targets):
    return outputs[:, 1]


def weights(change=0.0):
    model = Scaled()
    with torch.no_grad():
        model.linear.weight[0, 0] += change
    return model


MADE = {
    "a tensor": (lambda: torch.arange(6.0), lambda: torch.arange(6.0) + 1e-3),
    "its shape": (lambda: torch.zeros(2, 3), lambda: torch.zeros(3, 2)),
    "its type": (lambda: torch.zeros(2), lambda: torch.zeros(2).double()),
    "an array": (lambda: np.arange(3), lambda: np.arange(3) + 1),
    "batches": (lambda: [(torch.ones(2), 1)], lambda: [(torch.ones(2), 2)]),
    "an order": (lambda: [1, 2], lambda: [2, 1]),
    "a dict": (lambda: {"a": 1}, lambda: {"a": "1"}),
    "a model's weight": (weights, lambda: weights(1e-6)),
    "a model's plain attribute": (Scaled, lambda: Scaled(2.0)),
    "a model's activation": (Scaled, lambda: Scaled(inner=nn.Tanh)),
    "a model's class": (Scaled, Other),
    "a model's mode": (Scaled, lambda: Scaled().eval()),
    "a loader's data": (loader, lambda: loader(1)),
    "a loader's batch size": (loader, lambda: loader(batch=8)),
    "a function": (lambda: first, lambda: second),
    "a lambda": (lambda: lambda x: x + 1, lambda: lambda x: x + 2),
    "what a function encloses": (lambda: close_over(1), lambda: close_over(2)),
    "a partial": (lambda: functools.partial(first, 1), lambda: functools.partial(first, 2)),
    "a Metric": (lambda: Metric(first, "m"), lambda: Metric(first, "m", higher_is_better=False)),
    "a Subject": (lambda: Subject(Scaled(), "a"), lambda: Subject(Scaled(), "b")),
    "a path": (lambda: Path("a"), lambda: Path("b")),
    "an own mapping": (lambda: OrderedDict(a=1), lambda: OrderedDict(b=1)),
}


@pytest.mark.parametrize("what", MADE)
def test_what_is_made_alike_is_the_same_and_what_differs_is_not(what):
    make, other = MADE[what]
    assert known_fingerprint(make()) == known_fingerprint(make()) is not None
    assert known_fingerprint(make()) != known_fingerprint(other()) is not None


def test_running_a_model_or_reading_a_loader_changes_nothing():
    model, data = Scaled().eval(), loader(shuffle=True)
    before = known_fingerprint(model), known_fingerprint(data)
    for x, _ in data:
        model(x)
    assert (known_fingerprint(model), known_fingerprint(data)) == before
    assert known_fingerprint(copy.deepcopy(model)) == before[0]


def test_what_code_reads_from_the_environment_belongs_to_it(monkeypatch):
    import os

    def scaled(x):
        return x * float(os.environ.get("SCALE_OF_OURS", "1"))

    found = [known_fingerprint(scaled)]
    for value in ("2", "3"):
        monkeypatch.setenv("SCALE_OF_OURS", value)
        found.append(known_fingerprint(scaled))
    assert len(set(found)) == 3


def test_a_packages_method_that_was_replaced_belongs_to_a_model(monkeypatch):
    before = known_fingerprint(Scaled())
    real = nn.Linear.forward
    monkeypatch.setattr(nn.Linear, "forward", lambda self, x: real(self, x) * 2)
    assert known_fingerprint(Scaled()) != before


def test_a_packages_function_that_was_replaced_belongs_to_who_calls_it(monkeypatch):
    def called(x):
        return torch.nn.functional.relu(x)

    before = known_fingerprint(called)
    monkeypatch.setattr(torch.nn.functional, "relu", lambda x: x)
    assert known_fingerprint(called) != before


def test_a_logger_and_a_lazy_cache_do_not_hide_the_rest():
    import logging

    log = logging.getLogger("ours")

    @functools.lru_cache
    def table(n):
        return [n]

    def make(value):
        def run(x):
            log.info("run")
            return x * value, table(1)

        return run

    assert known_fingerprint(make(1)) == known_fingerprint(make(1)) is not None
    assert known_fingerprint(make(1)) != known_fingerprint(make(2))


def test_a_hook_that_was_added_makes_another_model():
    model = Scaled()
    before = known_fingerprint(model)
    model.register_forward_hook(lambda *_: None)
    assert known_fingerprint(model) != before


@pytest.mark.parametrize(
    "value",
    [iter([1]), (x for x in [1]), threading.Lock(), [threading.Lock()]],
)
def test_what_cannot_be_told_has_no_digest(value):
    assert known_fingerprint(value) is None


def test_a_cycle_and_a_deep_nest_end():
    cycle = [1]
    cycle.append(cycle)
    assert known_fingerprint(cycle) is not None
    deep = []
    for _ in range(1000):
        deep = [deep]
    assert known_fingerprint(deep) is None


def test_what_is_made_on_the_way_is_never_taken_for_something_that_was_seen():
    """Attributes come as pairs that nobody holds: the next one's may lie where the last one's lay."""

    def objects(last):
        return [types.SimpleNamespace(n=n) for n in (*range(20), last)]

    assert known_fingerprint(objects(1)) != known_fingerprint(objects(2))
