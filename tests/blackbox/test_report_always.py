"""The report is there whatever happens to terminal, hooks and figures; and no older one stands for it."""

import json
import signal
import subprocess
import sys
import time

import pytest
from toyrepo import CONFTEST

from pytest_quant.report import files as written

GATES = """
from pytest_quant import assert_max_size


def test_size(quant_dynamic):
    assert_max_size(quant_dynamic, ratio={ratio})
"""
FILES = {"report.json", "report.md", "report.csv", "report.html"}


@pytest.fixture
def repo(pytester):
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_gates=GATES.format(ratio=0.9))
    return pytester


def run(repo, *arguments):
    return repo.runpytest_inprocess(
        "--quant", "--quant-report=out", *arguments, no_reraise_ctrlc=True
    )


def answer(repo):
    return json.loads((repo.path / "out" / "report.json").read_text())["may_ship"]["answer"]


def files(repo):
    return {path.name for path in (repo.path / "out").iterdir()}


@pytest.mark.parametrize(
    "quiet", [("-p", "no:terminal"), ("--no-summary",), ("-qq", "--no-header")]
)
def test_without_a_summary_the_files_are_there(repo, quiet):
    run(repo)
    assert answer(repo) == "yes"
    repo.makepyfile(test_gates=GATES.format(ratio=0.001))
    assert run(repo, *quiet).ret == 1
    assert answer(repo) == "no"
    assert files(repo) == FILES


@pytest.mark.parametrize("when", ["a model loads", "tests are collected"])
def test_after_ctrl_c_no_older_yes_is_there(repo, when):
    run(repo)
    if when == "a model loads":
        stop = (
            "\n@pytest.fixture(scope='session')\ndef quant_model():\n    raise KeyboardInterrupt\n"
        )
        repo.makeconftest(CONFTEST + stop)
    else:
        repo.makepyfile(test_gates="raise KeyboardInterrupt")
    assert run(repo).ret == pytest.ExitCode.INTERRUPTED
    assert answer(repo) == "undecided"
    assert files(repo) == FILES | {"report.previous.json"}  # which knows more variants


KILLED = """
@pytest.fixture(scope="session")
def quant_model():
    import pathlib, time
    pathlib.Path("loading").touch()
    time.sleep(60)
"""


def test_a_run_that_is_killed_leaves_no_report_that_is_not_its_own(repo):
    run(repo)
    before = (repo.path / "out" / "report.json").read_text()
    repo.makeconftest(CONFTEST + KILLED)
    command = [sys.executable, "-m", "pytest", "--quant", "--quant-report=out"]
    with subprocess.Popen(command, cwd=repo.path, stdout=subprocess.DEVNULL) as process:
        while not (repo.path / "loading").exists() and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert not any((repo.path / "out" / name).exists() for name in FILES)
    repo.makeconftest(CONFTEST)
    repo.makepyfile(
        test_gates="def test_it():\n    pass\n"
    )  # judges nothing: what was there is put back
    run(repo)
    assert (repo.path / "out" / "report.json").read_text() == before


@pytest.mark.parametrize("arguments", [("--co",), ("-k", "no_variant"), ("--fixtures",)])
def test_a_run_that_judges_nothing_leaves_the_report_alone(repo, arguments):
    run(repo)
    before = (repo.path / "out" / "report.json").read_bytes()
    repo.makepyfile(test_units="def test_no_variant():\n    pass\n")
    assert run(repo, *arguments).ret == 0
    assert (repo.path / "out" / "report.json").read_bytes() == before
    assert files(repo) == FILES


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("a bug")])
def test_files_that_cannot_all_be_written_are_none(repo, monkeypatch, error):
    run(repo)
    write = written.write_atomically

    def fail(path, content):
        if path.name == "report.html":
            raise error
        return write(path, content)

    repo.makepyfile(test_gates=GATES.format(ratio=0.001))
    with monkeypatch.context() as patch:
        patch.setattr(written, "write_atomically", fail)
        result = run(repo)
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [f"the report was not written, and none is in */out now: *{error.args[-1]}", "*1 failed*"]
    )
    assert not files(repo) & FILES


def test_a_hook_that_raises_costs_a_line(repo):
    hook = "\ndef pytest_quant_report(report, frame):\n    raise RuntimeError('our dashboard is away')\n"
    repo.makeconftest(CONFTEST + hook)
    result = run(repo)
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "*dynamic*1 PASS",
            "may ship: yes*",
            "the hook pytest_quant_report raised RuntimeError: our *",
        ]
    )
    assert answer(repo) == "yes"


def test_what_cannot_be_put_in_the_table_is_told_there(repo, monkeypatch):
    from pytest_quant.plugin import payload as plugin

    def fail(variant):
        raise TypeError("a reshape of nothing")

    monkeypatch.setattr(plugin, "row_of", fail)
    result = run(repo)
    result.stdout.fnmatch_lines(
        ["*dynamic: report ERROR: TypeError: a reshape of nothing", "may ship: *"]
    )
    result.assert_outcomes(passed=1)


METRIC = """
@pytest.fixture(scope="session")
def quant_metric():
    from pytest_quant import Metric

    def nats(outputs, targets):
        return {scale} * torch.nn.functional.cross_entropy(outputs, targets, reduction="none").exp()

    return Metric(nats, "ppl", higher_is_better=False, unit="perplexity")
"""


@pytest.mark.parametrize("scale", [800, 1e5])
def test_a_perplexity_beyond_all_numbers_is_judged(repo, scale):
    repo.makeconftest(CONFTEST + METRIC.format(scale=scale))
    gate = "\ndef test_drop(quant_dynamic):\n    assert_max_accuracy_drop(quant_dynamic, 0.001)\n"
    text = GATES.replace("assert_max_size\n", "assert_max_accuracy_drop, assert_max_size\n", 1)
    repo.makepyfile(test_gates=text.format(ratio=0.9) + gate)
    result = run(repo)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["E*ppl FAIL: dynamic rises *", "may ship: no: Sequential: ppl FAIL of dynamic"]
    )
    assert answer(repo) == "no"
