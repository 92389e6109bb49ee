"""Output belongs to the user: progress goes past what tests print, and no name steers a terminal."""

import os
import pty
import sys

import pytest
from toyrepo import CONFTEST

ESCAPE = "\x1b"
REDIRECTS = '''
import contextlib
import io
import os

from pytest_quant import assert_max_accuracy_drop


def judged(variant):
    return assert_max_accuracy_drop(variant, 0.5).outcome


def test_in_python(quant_static):
    kept = io.StringIO()
    with contextlib.redirect_stdout(kept), contextlib.redirect_stderr(kept):
        print(judged(quant_static))
    assert kept.getvalue() == "PASS\\n"


def test_of_the_process(quant_dynamic, tmp_path):
    before = os.dup(1)
    with open(tmp_path / "kept.txt", "wb") as kept:
        os.dup2(kept.fileno(), 1)
        outcome = judged(quant_dynamic)
        os.write(1, outcome.encode())
        os.dup2(before, 1)
    assert (tmp_path / "kept.txt").read_text() == "PASS"


def test_of_a_fixture(quant_qat, capfd):
    os.write(1, judged(quant_qat).encode())
    assert capfd.readouterr() == ("PASS", "")


def greeting():
    """
    >>> from pytest_quant import Conditions, Recipe, Subject, open_store
    >>> from conftest import batches, model
    >>> store = open_store(Conditions())
    >>> variant = store.variant(Subject(model(), eval_data=batches(1)), Recipe("dynamic"))
    >>> print(judged(variant))
    PASS
    """
'''
MODEL = CONFTEST.replace(
    '@pytest.fixture(scope="session")\ndef quant_model():',
    '@pytest.fixture(scope="session")\ndef quant_model():\n    return model()\n\n\ndef model():',
)


@pytest.fixture
def repo(pytester):
    pytester.makeconftest(MODEL)
    return pytester


def test_what_a_test_prints_goes_where_it_sent_it(repo):
    repo.makepyfile(test_redirects=REDIRECTS)
    result = repo.runpytest_subprocess("--quant", "--doctest-modules")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(
        [
            "test_redirects.py *",
            "quant: evaluate Sequential static: 4 batches in * s",
            "quant: evaluate Sequential dynamic: 4 batches in * s",
            "quant: train Sequential qat: * steps in * s",
        ]
    )
    assert not any(line.startswith("quant:") for line in result.errlines)


def on_a_terminal(*arguments):
    """What a terminal is given by a run of pytest whose standard output it is."""
    shown = []

    def read(descriptor):
        shown.append(os.read(descriptor, 4096))
        return b""

    sh = 'python=$1; shift; exec "$python" -m pytest "$@" 2>err.txt </dev/null'
    pid, descriptor = pty.fork()
    if pid == 0:
        os.execv("/bin/sh", ["sh", "-c", sh, "sh", sys.executable, *arguments])
    try:
        while True:
            read(descriptor)
    except OSError:  # its other end is closed
        pass
    os.close(descriptor)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    return b"".join(shown).decode()


DROP = """
from pytest_quant import assert_max_accuracy_drop


def test_drop(quant_dynamic):
    assert_max_accuracy_drop(quant_dynamic, 0.5)
"""
BAR = "evaluate Sequential dynamic:   0%|"
LINE = "quant: evaluate Sequential dynamic: 4 batches in"


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_bars_are_for_terminals_that_can_move_the_cursor(repo, monkeypatch, term):
    repo.makepyfile(test_drop=DROP)
    monkeypatch.setenv("TERM", term)
    shown = on_a_terminal("--quant", "-p", "no:cacheprovider", "--color=no")
    assert (repo.path / "err.txt").read_text() == ""
    assert (BAR in shown) == (term == "xterm")
    assert (LINE in shown) == (term == "dumb")
    assert (ESCAPE in shown) == (term == "xterm")


NAME = "\x1b]0;owned\x07\x1b[31mred"
NAMES = f"""
from pytest_quant import Metric, Recipe, Subject

NAME = {NAME!r}


@pytest.fixture(scope="session")
def quant_metric():
    return {{NAME: Metric.top_k(1)}}


@pytest.fixture(scope="session")
def quant_model():
    return Subject(model(), name=NAME)


def pytest_quant_recipes(config):
    return {{NAME: Recipe("dynamic", keep_fp32=("2",))}}
"""
ESCAPES = """
import pytest
from conftest import NAME
from pytest_quant import assert_gates, assert_max_accuracy_drop


def test_gates(quant_variant):
    assert_gates(quant_variant, max_accuracy_drop=0.0, min_int8_share=1)


def test_metric(quant_dynamic):
    assert_max_accuracy_drop(quant_dynamic, 0.1, metric="other")


def test_points(quant_dynamic):
    assert_max_accuracy_drop(quant_dynamic, 2)


@pytest.mark.parametrize("quant_variant", ["unknown"], indirect=True)
def test_recipe(quant_variant): ...
"""


def test_names_steer_no_terminal(repo):
    with (repo.path / "conftest.py").open("a") as conftest:
        conftest.write(NAMES)
    repo.makepyfile(test_escapes=ESCAPES)
    result = repo.runpytest_inprocess(
        "--quant", "--quant-threads=1", "--quant-durations", "--quant-save=main", "--quant-force", "-v"
    )  # fmt: skip
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        ["*is not among *owned*", "*max_drop is 2.0 for *owned*", "seconds *prepare*", "*]0;owned*"]
    )
    assert ESCAPE not in result.stdout.str() + result.stderr.str()
    result = repo.runpytest_inprocess("--quant", "--quant-variants=other", "--quant-compare=main")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*--quant-variants: unknown other; known: *owned*"])
    assert ESCAPE not in result.stderr.str()
