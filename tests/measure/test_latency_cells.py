"""Latency in a cell: both models run with its threads and on its samples, and the gate names it."""

import cProfile
import sys

import pytest
import torch
from builders import toy_variant
from torch import nn

from pytest_quant import Metric, assert_min_speedup
from pytest_quant.explain.causes import cause
from pytest_quant.judge import recorder
from pytest_quant.judge.recorder import Running
from pytest_quant.machine.cell import Cell
from pytest_quant.machine.conditions import Conditions
from pytest_quant.report.rows import row_of
from pytest_quant.store.open import open_store
from pytest_quant.subject.subject import Subject
from pytest_quant.variant.recipe import Recipe

SEEN = []
OF_THE_RUN = {(1, 6)}  # threads and samples; with these FP32 is looked at, whether it has moved


class Watched(nn.Module):
    """A layer that tells with how many threads it ran, and on how many samples."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 4)

    def forward(self, x):
        SEEN.append((torch.get_num_threads(), len(x)))
        return self.linear(x)


@pytest.fixture
def dynamic():
    data = [(torch.randn(6, 8), torch.randint(4, (6,)))]
    store = open_store(Conditions(threads=1))
    variant = store.variant(Subject(Watched().eval(), eval_data=data), Recipe("dynamic"), "dynamic")
    with recorder.running(Running("test")):
        yield variant


@pytest.mark.parametrize(
    ("cell", "ran"), [(Cell(2, 1), (2, 1)), (Cell(2, 9), (2, 9)), (Cell(3), (3, 6)), (None, (1, 6))]
)
@pytest.mark.parametrize("baseline", ["given", "best"])
def test_both_models_run_as_the_cell_says(dynamic, cell, ran, baseline):
    threads = torch.get_num_threads()
    pair = dynamic.pair(baseline, cell)
    SEEN.clear()
    pair.add_rounds(3, 0.1)
    assert set(SEEN) | OF_THE_RUN == {ran} | OF_THE_RUN
    assert pair.batch == ran[1]
    SEEN.clear()
    pair.remade().add_rounds(3, 0.1)
    assert set(SEEN) | OF_THE_RUN == {ran} | OF_THE_RUN
    assert torch.get_num_threads() == threads


def test_cells_are_timed_apart_and_stand_in_the_row(dynamic):
    for cell in (Cell(1, 2), Cell(2, 2), Cell(2, 3)):
        dynamic.pair("given", cell).add_rounds(3, 0.1)
    dynamic.pair("given", Cell(1, 9))  # not timed yet
    row = row_of(dynamic)
    assert [(cell.threads, cell.batch, cell.rounds) for cell in row.grid] == [
        (1, 2, 3), (2, 2, 3), (2, 3, 3),
    ]  # fmt: skip
    assert row.latency is None
    assert type(row).from_dict(row.to_dict()) == row


def test_a_gate_on_a_cell_names_it(dynamic):
    verdict = assert_min_speedup(dynamic, 1e-3, threads=2, batch=3)
    assert verdict.quantity == "speed-up at 2 threads, batch 3"
    assert verdict.sentence.startswith("speed-up at 2 threads, batch 3 PASS: dynamic is ")
    assert (verdict.evidence["threads"], verdict.evidence["batch"]) == (2, 3)
    assert dynamic.measured("pair given") is None
    assert assert_min_speedup(dynamic, 1e-3, batch=3).quantity == "speed-up at 1 thread, batch 3"
    assert assert_min_speedup(dynamic, 1e-3, threads=2).quantity == "speed-up at 2 threads"
    assert assert_min_speedup(dynamic, 1e-3).quantity == "speed-up"


def test_a_breach_in_a_cell_fails(dynamic):
    with pytest.raises(AssertionError, match=r"^speed-up at 1 thread, batch 2 FAIL: dynamic is "):
        assert_min_speedup(dynamic, 1e6, threads=1, batch=2)


@pytest.mark.parametrize(
    "given", [{"threads": 0}, {"batch": -1}, {"threads": 1.5}, {"batch": True}]
)
def test_a_cell_that_is_none_is_refused(dynamic, given):
    (name,) = given
    with pytest.raises(
        (TypeError, ValueError), match=f"{name} is .*expected a whole number from 1"
    ):
        assert_min_speedup(dynamic, 2, **given)


def test_the_cause_of_a_breach_in_a_cell_says_for_what_it_was_looked(dynamic):
    with pytest.raises(AssertionError):
        assert_min_speedup(dynamic, 1e6, threads=2, batch=2)
    (verdict,) = recorder.current().verdicts
    told = cause(verdict, dynamic)
    assert told.startswith("With the run's own threads and batch: dynamic takes ")


def test_nothing_is_timed_while_python_is_traced():
    """Coverage and debuggers slow what the user wrote in Python, and not what was compiled of it."""
    seen = []

    class Looking(Watched):
        def forward(self, x):
            seen.append((sys.gettrace(), sys.getprofile()))
            return super().forward(x)

    data = [(torch.ones(6, 8), torch.zeros(6, dtype=torch.long))]
    metric = Metric(lambda o, y: o[:, 0] * 0 + 1.0 * (o[:, 0] > -9), "any", higher_is_better=True)
    fp32 = open_store(Conditions(threads=1)).fp32(Subject(Looking(), eval_data=data, metric=metric))
    pair = fp32.pair("best")

    def tracer(frame, event, argument):
        return None

    before = sys.gettrace(), sys.getprofile()
    try:
        sys.settrace(tracer)
        sys.setprofile(tracer)
        seen.clear()
        pair.add_rounds(3, 0.1)
        found = sys.gettrace(), sys.getprofile()
    finally:
        sys.settrace(before[0])
        sys.setprofile(before[1])
    assert found == (tracer, tracer)
    assert (None, None) in seen[5:]
    assert seen[-1] == (None, None)


def test_a_run_under_cprofile_is_timed_too():
    """Python before 3.12 gives the profiler itself, which cannot be set again."""
    pair = toy_variant("dynamic").pair("best")
    profile = cProfile.Profile()
    with profile:
        pair.add_rounds(3, 0.1)
        marked = sys.getprofile()
        len("a call that is counted")
    assert marked in (profile, None)
    assert any("built-in method builtins.len" in str(each.code) for each in profile.getstats())
    assert len(pair.seconds_a) >= 1
