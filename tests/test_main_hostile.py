"""Saved files that somebody has damaged, or made to do harm: one sentence, and never a traceback."""

import copy
import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout

import pytest
from builders import measured_rows, metric_cells, plain_row, plain_test, plain_verdict
from hostile import hostile_report
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_quant.__main__ import main
from pytest_quant.baseline.baseline import BaselineError, load
from pytest_quant.report.baselines import Gathered
from pytest_quant.report.document import Report


def plain(document):
    return json.loads(document.to_json())


def measured_report():
    rows = measured_rows()
    verdicts = [plain_verdict(rows[1], outcome) for outcome in ("PASS", "FAIL", "INCONCLUSIVE")]
    for row in rows:
        row |= {"fp32_digest": "d1", "eval_set": {"fingerprint": "aa", "samples": 200}}
    environment = {"workers": 1, "torch": "2.14.1", "commit": "c1", "dirty": True}
    return Report(environment, rows, verdicts, tests=[plain_test(rows[1], "failed", "x")])


REPORT = plain(measured_report())
BASELINE = plain(Gathered().baseline("v1", measured_report()))


def as_version_1(document):
    """The same document as an earlier version wrote it."""
    old = copy.deepcopy(document) | {"version": 1}
    for name in ("verdicts",) if "form" in old else ("mixed", "deselected", "selected", "places"):
        del old[name]
    for row in old["rows"]:
        del row["fp32_digest"]
    return old


def in_parts():
    """A merged report, of which not all is of one thing."""
    report = measured_report()
    report.add_mixed({"model": None, "text": "its parts are of different commits"})
    report.add_mixed({"where": "", "model": "Net", "text": "FP32's weights differ"})
    return report


DOCUMENTS = (
    REPORT,
    BASELINE,
    plain(hostile_report(names=("a", "=b"))),
    plain(in_parts()),
    as_version_1(REPORT),
    as_version_1(BASELINE),
)
NUMBERS = (0, -1, 1, 0.5, -1.5, 2**62, 10**400, 1e308, -1e308, 5e-324, float("nan"), float("inf"))
TEXTS = ("", "fp32", "static", "FAIL", "error", "\x1b[31m", "\ud800", "9" * 50)
NESTS = ([], [[]], {}, [None], {"a": 1}, [1, 2, 3])
STRANGE = (None, True, False, *NUMBERS, *TEXTS, *NESTS)


def places(node, at=()):
    """Where each part of a document stands."""
    if at:
        yield at
    parts = node.items() if isinstance(node, dict) else enumerate(node)
    for name, part in parts:
        if isinstance(part, dict | list):
            yield from places(part, (*at, name))
        else:
            yield (*at, name)


@st.composite
def mutated(draw):
    """A document in which one to three parts are something else, missing, or there twice."""
    document = copy.deepcopy(draw(st.sampled_from(DOCUMENTS)))
    for _ in range(draw(st.integers(1, 3))):
        *above, name = draw(st.sampled_from(list(places(document))))
        node = document
        for each in above:
            node = node[each]
        how = draw(st.sampled_from(("another", "another", "another", "missing", "twice")))
        if how == "another":
            node[name] = copy.deepcopy(draw(st.sampled_from(STRANGE)))
        elif how == "missing":
            del node[name]
        elif isinstance(node, list):
            node.append(copy.deepcopy(node[name]))
        if not document:
            break
    return document


def said_by(*arguments):
    """Exit code, standard output and standard error of a command."""
    out, err = io.TextIOWrapper(io.BytesIO(), encoding="ascii"), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([*map(str, arguments)])
    return code, out.buffer.getvalue().decode(), err.getvalue()


@settings(
    max_examples=250,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    document=mutated(),
    command=st.sampled_from(["show", "compare before", "compare after", "merge"]),
    format=st.sampled_from(["table", "table", "markdown", "json", "html"]),
)
def test_a_mutated_document_is_shown_or_refused_in_one_sentence(
    tmp_path, document, command, format
):
    bad, good = tmp_path / "bad.json", tmp_path / "good.json"
    bad.write_text(json.dumps(document))
    good.write_text(json.dumps(REPORT))
    command, _, place = command.partition(" ")
    files = {"show": [bad], "merge": [good, bad]}.get(command, [good, bad])
    code, out, err = said_by(
        command, *(files[::-1] if place == "before" else files), "--format", format
    )
    assert code in (0, 2)
    if code == 2:
        assert out == ""
        assert err.startswith("pytest-quant: ")
        assert err.count("\n") == 1
        assert str(bad) in err
        assert "cannot be worked with" not in err  # it is refused for what it is
    assert "\x1b" not in out + err


@pytest.mark.parametrize(
    ("size", "why"),
    [
        ("9" * 400, "it holds a whole number of 400 digits"),
        ("9" * 5000, "it holds a whole number of 5000 digits"),
        ("1e999", "it holds the number 1e999, which is too large"),
        ("NaN", "it holds NaN, which JSON has not"),
        ("-Infinity", "it holds -Infinity, which JSON has not"),
        ("[" * 100 + "]" * 100, "it is nested more than 64 levels deep"),
        ('{"a":' * 900 + "1" + "}" * 900, "it is nested more than 64 levels deep"),
        ("[" * 10**5 + "]" * 10**5, "it is nested too deeply"),
        ("1.5", "damaged"),
        ("true", "damaged"),
    ],
)
@pytest.mark.parametrize("document", [REPORT, BASELINE], ids=["report", "baseline"])
def test_numbers_and_nests_that_nobody_can_work_with_are_refused(tmp_path, document, size, why):
    path = tmp_path / "v1.json"
    text = json.dumps(document)
    assert text.count("1250000") == 1
    path.write_text(text.replace("1250000", size))
    code, out, err = said_by("show", path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert str(path) in err
    assert why in err
    if document is BASELINE:
        with pytest.raises(BaselineError, match=rf"v1\.json cannot be (read|used).*{why}"):
            load("v1", tmp_path)


def test_a_device_without_an_end_is_refused(monkeypatch):
    monkeypatch.setattr("pytest_quant.machine.json_text.MOST", 2**20)
    code, _, err = said_by("show", "/dev/zero")
    assert code == 2
    assert "/dev/zero is not JSON: it is larger than 1 MiB" in err


@pytest.mark.parametrize("format", ["table", "markdown", "html", "json"])
def test_a_locale_of_ascii_shows_every_letter_in_some_way(tmp_path, format):
    path = tmp_path / "r.json"
    path.write_text(Report({}, [plain_row("漢字 é", notes=["ü"])]).to_json())
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "pytest_quant", "show", path, "--format", format]
    done = subprocess.run(command, capture_output=True, env=environment, check=True)
    letter = {"html": b"&#28450;", "json": b"\\u6f22"}.get(format, b"\\u6f22")
    assert letter in done.stdout
    assert done.stderr == b""


def calls_of(rows, *arguments):
    """How many functions are called for so many rows."""
    count = 0

    def counting(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(counting)
    try:
        code, _, _ = said_by(*arguments)
    finally:
        sys.setprofile(None)
    assert code == 0
    return count / rows


def models(count):
    return [row for index in range(count // 2) for row in measured_rows(f"Net {index}")]


def namesakes(count):
    ids = [f"p{index}" for index in range(count // 2)]
    return [{**row, "model_ids": each} for each in ids for row in measured_rows()]


def recipes(count):
    fp32, static = measured_rows()
    return [fp32, *({**static, "variant": f"v{index}"} for index in range(count - 1))]


@pytest.mark.parametrize("command", ["show", "compare", "merge"])
@pytest.mark.parametrize("make", [models, namesakes, recipes])
def test_the_work_grows_with_the_rows_and_not_with_their_square(tmp_path, make, command):
    each = []
    for count in (100, 400):
        rows = make(count)
        for row in rows:
            row["metrics"] = [metric_cells(value=0.9)]
        verdicts = [plain_verdict(row, test=f"t{index}") for index, row in enumerate(rows)]
        tests = [plain_test(row, "passed", nodeid=f"t{index}") for index, row in enumerate(rows)]
        path = tmp_path / f"{count}.json"
        path.write_text(Report({}, rows, verdicts, tests=tests).to_json())
        files = [path] if command == "show" else [path, path]
        each.append(calls_of(count, command, *files))
    assert each[1] < 1.3 * each[0]


def test_rows_that_come_one_by_one_are_as_rows_that_come_at_once():
    rows = [*models(6), *recipes(4), plain_row("Net 1", "dynamic"), plain_row("Own", "own")]
    slow = Report()
    for row in rows:
        slow.add({"rows": [row]})
        slow.add({"rows": [row]})
    assert slow == Report(rows=rows)
