"""With pytest-xdist: the same rows, bits, baseline, ends and properties as without.

A worker imports torch anew, so each of two repos is run once, and several tests look at what it left.
"""

import json

import pytest
from test_baselines import PINNED, saved
from test_report_junit import GATES as JUNIT_GATES
from test_report_junit import assert_each_verdict_is_there, properties_of
from test_report_outcomes import FAILURES, OUTCOMES
from toyrepo import CONFTEST, GATES

from pytest_quant.machine.conditions import available_cores

BITS = """

def pytest_quant_recipes(config):
    from pytest_quant import Recipe
    return {"static-minmax": Recipe("static", observer="minmax")}
"""
OUTPUTS = """
import hashlib
import torch

def test_bits(quant_variant, record_property):
    outputs = quant_variant(torch.ones(4, 8))
    digest = hashlib.sha256(outputs.numpy().tobytes()).hexdigest()
    with open(f"bits-{quant_variant.name}.txt", "a") as file:
        file.write(digest + chr(10))
"""
NAMES = {"0": "zero", "2": "two"}  # of baselines, by the number of workers


@pytest.fixture(scope="module")
def kept():
    """Repos that were run, by name: by the first test that asks for one."""
    return {}


@pytest.fixture
def passing(pytester, kept):
    """A repo in which all passes, whose run was reported and saved with 0 and 2 workers."""
    if "passing" not in kept:
        pytester.makeconftest(CONFTEST + BITS)
        pytester.makepyfile(test_gates=GATES, test_outputs=OUTPUTS)
        for workers, name in NAMES.items():
            timed = PINNED.replace("main", name).replace("@pytest", "# pytest")
            pytester.makepyfile(test_pinned=timed)
            result = pytester.runpytest_inprocess(
                "--quant", "-n", workers, f"--quant-report=r{workers}", f"--quant-save={name}"
            )
            result.assert_outcomes(passed=9)
            result.stdout.fnmatch_lines(["*= quantization =*"])
        kept["passing"] = pytester
    return kept["passing"]


@pytest.fixture
def failing(pytester, kept):
    """A repo in which tests end in each way, run with 0 and 2 workers."""
    if "failing" not in kept:
        pytester.makeconftest(CONFTEST)
        pytester.makepyfile(test_gates=OUTCOMES + FAILURES, test_junit=JUNIT_GATES)
        for workers in NAMES:
            pytester.runpytest_inprocess(
                "--quant", "--quant-threads=1", "-n", workers, f"--quant-report=r{workers}",
                "--quant-junit", f"--junit-xml=r{workers}.xml",
            )  # fmt: skip
        kept["failing"] = pytester
    return kept["failing"]


def report_of(repo, workers):
    return json.loads((repo.path / f"r{workers}" / "report.json").read_text())


@pytest.mark.slow
def test_two_workers_report_what_one_process_reports(passing):
    alone, shared = (
        {row["variant"]: {key: row[key] for key in ("where", "model", "metrics", "size", "int8_share")}
         for row in report_of(passing, workers)["rows"]}
        for workers in ("0", "2")
    )  # fmt: skip
    assert alone == shared
    assert set(alone) == {"fp32", "dynamic", "static", "qat", "static-minmax"}
    assert report_of(passing, "2")["environment"]["workers"] == 2
    for name in ("dynamic", "static", "qat", "static-minmax"):
        assert len(set((passing.path / f"bits-{name}.txt").read_text().split())) == 1


@pytest.mark.slow
def test_two_workers_save_what_one_process_saves(passing):
    alone, shared = saved(passing, "zero"), saved(passing, "two")
    for plain in (alone, shared):
        plain["name"] = plain["environment"]["workers"] = None
        for row in plain["rows"]:
            assert row["variant"] != "static" or row.pop("latency")["rounds"] == 30
            row.pop("latency", None)
    assert alone == shared


@pytest.mark.slow
def test_a_run_of_a_part_is_not_saved_with_workers_either(pytester):
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_gates=GATES)
    result = pytester.runpytest_inprocess(
        "--quant", "-n", "2", "-k", "not (static or qat)", "--quant-save=two"
    )
    result.stdout.fnmatch_lines(
        ["baseline two was not saved: 2 tests of variants were deselected*"]
    )
    assert result.ret == 1


@pytest.mark.slow
def test_with_workers_the_report_says_the_same(failing):
    answers = []
    for workers in ("0", "2"):
        report = report_of(failing, workers)
        tests = sorted(
            (test["nodeid"], test["outcome"], str(test["variants"]), test["reason"])
            for test in report["tests"]
        )
        answer = report["may_ship"]
        answers.append((tests, set(answer["why"]), set(answer["expected"]), answer["skipped"]))
    assert answers[0] == answers[1]


@pytest.mark.slow
def test_with_workers_each_verdict_is_a_handful_of_properties_of_its_test(failing):
    assert_each_verdict_is_there(properties_of(failing.path / "r2.xml"))


@pytest.mark.slow
def test_a_wrong_marker_is_one_sentence_with_workers_too(pytester):
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.quant(max_acuracy=0.01)
        def test_typo(quant_static): pass
        """
    )
    for arguments in ((), ("-n", "2")):
        result = pytester.runpytest_inprocess("--quant", *arguments)
        assert result.ret != 0
        output = result.stdout.str() + result.stderr.str()
        assert "unknown limit 'max_acuracy' (did you mean max_accuracy_drop?)" in output


COUNTED = """

def built(model):
    with open("built.txt", "a") as file:
        file.write("once ")
    return torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear})


def pytest_quant_recipes(config):
    from pytest_quant import Recipe
    return {"own": Recipe("custom", build=built)}
"""
TURNS = """
import pytest
from pytest_quant.machine import turns


@pytest.mark.parametrize("number", range(2))
def test_turns(quant_dynamic, number):
    with open("turns.txt", "a") as file:
        file.write(f"{turns._turns is not None} ")
"""


@pytest.mark.slow
@pytest.mark.parametrize("per_worker", [1, 2])
def test_workers_take_turns_where_cores_are_few_and_one_completes_a_model(pytester, per_worker):
    cores = available_cores()
    threads = cores // 2 if per_worker == 1 else cores
    pytester.makeconftest(CONFTEST + COUNTED)
    pytester.makepyfile(test_turns=TURNS)
    arguments = ("--quant", "--quant-all", "-n", "2", "--dist=each", f"--quant-threads={threads}")
    result = pytester.runpytest_inprocess(*arguments)
    result.assert_outcomes(passed=4)
    assert (pytester.path / "built.txt").read_text() == "once "
    taken = {*(pytester.path / "turns.txt").read_text().split()}
    assert taken == {str(per_worker == 2 or cores < 2)}


SPEED = """
import json


def test_speed(quant_static, worker_id):
    pair = quant_static.pair()
    pair.add_rounds(8, seconds=1e9)
    with open(f"{worker_id}.json", "w") as file:
        json.dump(pair.seconds_a[:8], file)
"""


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), ("-p", "no:cacheprovider")], ids=["cache", "no cache"])
def test_two_workers_share_their_rounds_and_leave_no_file(pytester, more):
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_speed=SPEED)
    timed = []
    for _ in range(2):
        result = pytester.runpytest_inprocess("--quant", "-n", "2", "--dist=each", *more)
        result.assert_outcomes(passed=2)
        timed.append([json.loads(path.read_text()) for path in pytester.path.glob("gw*.json")])
    (first, second), (other, _) = timed
    assert first == second
    assert first != other  # no timing is kept for another run
    assert not list(pytester.path.rglob("rounds-*"))
