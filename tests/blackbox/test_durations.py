"""`--quant-durations`: where the time of a run went."""

import json

import pytest
from toyrepo import CONFTEST

GATES = """
from pytest_quant import assert_max_accuracy_drop, assert_max_size

def test_static(quant_static):
    assert_max_accuracy_drop(quant_static, 0.9)

def test_qat(quant_qat):
    assert_max_size(quant_qat, ratio=0.9)

def test_dynamic(quant_dynamic):
    quant_dynamic.pair("given").add_rounds(3, 60)
"""
HEAD = "seconds *prepare *calibrate *train *convert *size *evaluate *time *total"


@pytest.fixture
def repo(pytester):
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_gates=GATES)
    return pytester


def cells(result):
    """Variant -> stage -> cell, of the table of durations."""
    lines = result.outlines
    start = next(i for i, line in enumerate(lines) if line.startswith("seconds"))
    heads = lines[start].split()[1:]
    table = {}
    for line in lines[start + 2 :]:
        parts = line.split()
        if parts[0] == "all":
            table["all"] = dict(zip(heads, map(float, parts[1:]), strict=True))
            return table
        table[parts[1]] = dict(zip(heads, parts[2:], strict=True))


def test_each_stage_of_each_variant_has_its_seconds(repo):
    result = repo.runpytest_inprocess(
        "--quant", "--quant-threads=1", "--quant-durations", "--quant-report=r"
    )
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["model *", "Sequential *", HEAD, "may ship*"])
    table = cells(result)
    took = {
        who: {stage for stage in stages if stages[stage] != "-"} for who, stages in table.items()
    }
    built = {"prepare", "convert", "size", "total"}
    assert took["static"] == built | {"calibrate", "evaluate"}
    assert took["qat"] == built | {"train"}
    assert took["dynamic"] == {"convert", "size", "time", "total"}
    assert took["fp32"] == {"size", "evaluate", "total"}  # which is not counted as static's
    report = json.loads((repo.path / "r" / "report.json").read_text())
    seconds = {row["variant"]: row["seconds"] for row in report["rows"]}
    assert all(value > 0 for row in seconds.values() for value in row.values())
    whole = sum(value for row in seconds.values() for value in row.values())
    assert table["all"]["total"] == pytest.approx(whole, abs=0.06)


def test_they_are_shown_only_when_asked_for(repo):
    repo.runpytest_inprocess("--quant", "-k", "static").stdout.no_fnmatch_line("seconds *")
    repo.makepyprojecttoml("[tool.pytest]\nquant_durations = true\n")
    repo.runpytest_inprocess("--quant", "-k", "static").stdout.fnmatch_lines(["seconds *"])


def test_what_could_not_be_built_shows_how_long_the_rest_took(repo):
    repo.makepyfile("def test_error(quant_static): raise ValueError")
    result = repo.runpytest_inprocess("--quant", "--quant-durations", "-k", "error")
    result.stdout.fnmatch_lines([HEAD.replace("*train ", "").replace("*evaluate *time ", "")])
