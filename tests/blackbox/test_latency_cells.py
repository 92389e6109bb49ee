"""`--quant-latency-grid`: each variant of a test is timed in each cell, and gates name theirs."""

import json

import pytest
from toyrepo import CONFTEST

GATES = """
from pytest_quant import assert_min_speedup

def test_static(quant_static):
    assert_min_speedup(quant_static, 0.001, threads=1, batch=3)

def test_dynamic(quant_dynamic):
    pass
"""


@pytest.mark.parametrize("where", ["command line", "ini"])
def test_each_variant_is_timed_in_each_cell(pytester, where):
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_gates=GATES)
    grid = ["--quant-latency-grid=1x1,2x4"] if where == "command line" else []
    if where == "ini":
        pytester.makeini("[pytest]\nquant_latency_grid = 1x1, 2x4\n")
    result = pytester.runpytest_inprocess(
        "--quant", "--quant-threads=1", "--quant-report=r", "--quant-timing-seconds=2", *grid
    )
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        ["model *threads *batch *FP32 ms/batch *ms/batch *speed-up [[]95 %[]]", "Sequential *"]
    )
    report = json.loads((pytester.path / "r" / "report.json").read_text())
    cells = {
        row["variant"]: [(cell["threads"], cell["batch"]) for cell in row["grid"]]
        for row in report["rows"]
    }
    assert cells == {"fp32": [], "dynamic": [(1, 1), (2, 4)], "static": [(1, 1), (2, 4), (1, 3)]}
    (verdict,) = report["verdicts"]
    assert verdict["quantity"] == "speed-up at 1 thread, batch 3"
