"""Form: report.json has a schema, what is written keeps to it, and what is read is held against it."""

import copy
import json

import jsonschema
import pytest
from builders import (
    explanation_cells,
    latency_cells,
    layer_cells,
    measured_rows,
    metric_cells,
    plain_row,
    plain_test,
    plain_verdict,
    remedy_cells,
    slowness_cells,
    tensors_cells,
    work_cells,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_quant.report.document import VERSION, Report
from pytest_quant.report.explained import PARTS
from pytest_quant.report.html import html_of
from pytest_quant.report.markdown import markdown_of
from pytest_quant.report.schema import faults, schema
from pytest_quant.report.terminal import summary_lines

VALIDATOR = jsonschema.Draft202012Validator(schema())
NAMES = st.text(max_size=12)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)
PLAIN = st.recursive(
    st.none() | st.booleans() | NUMBERS | NAMES,
    lambda part: st.lists(part, max_size=3) | st.dictionaries(NAMES, part, max_size=3),
    max_leaves=6,
)
METRICS = st.builds(
    metric_cells,
    NAMES,
    NUMBERS | st.none(),
    st.integers(0, 10**9),
    unit=st.sampled_from(["fraction", "raw", "perplexity"]),
    drop=NUMBERS | st.none(),
    flips=st.integers(0, 9) | st.none(),
)
LAYERS = st.builds(
    layer_cells, NAMES, NUMBERS | st.none(), NUMBERS | st.none(), st.lists(NAMES, max_size=2)
)
EXPLANATIONS = st.builds(
    lambda layers, sentences: explanation_cells(layers=layers, sentences=sentences),
    st.lists(LAYERS, max_size=30),
    st.lists(NAMES, max_size=2),
)
ROWS = st.builds(
    plain_row,
    NAMES,
    st.sampled_from(["fp32", "dynamic", "static", "qat", "mine", ""]),
    NAMES,
    metrics=st.lists(METRICS, max_size=2),
    latency=st.none() | st.builds(latency_cells, st.floats(0.1, 9)),
    seconds=st.dictionaries(NAMES, NUMBERS | st.none(), max_size=2),
    notes=st.lists(NAMES, max_size=2),
    error=st.none() | NAMES,
    recipe=st.none()
    | st.dictionaries(NAMES, PLAIN, max_size=2)
    | st.builds(lambda kind: {"kind": kind}, st.sampled_from(["dynamic", "static", "qat"])),
    explanation=st.none() | EXPLANATIONS,
    remedy=st.none() | st.builds(remedy_cells, st.booleans(), trials=st.lists(NAMES, max_size=2)),
    slowness=st.none() | st.builds(slowness_cells, ms=NUMBERS | st.none()),
    tensors=st.none() | st.builds(tensors_cells, bytes=st.integers(0, 2**50) | st.none()),
    work=st.none() | st.builds(work_cells, st.floats(0, 1)),
)
OUTCOMES = ("passed", "failed", "error", "inconclusive", "skipped", "xfailed", "xpassed")


@st.composite
def reports(draw):
    report = Report(draw(st.dictionaries(NAMES, PLAIN, max_size=3).filter(_is_environment)))
    report.add({"rows": draw(st.lists(ROWS, max_size=5))})
    for row in report.rows:
        outcome = draw(st.sampled_from(["PASS", "FAIL", "INCONCLUSIVE"]))
        evidence = draw(st.dictionaries(NAMES, PLAIN, max_size=2))
        verdict = plain_verdict(row, outcome, evidence=evidence, test=draw(NAMES))
        report.add({"verdicts": [verdict]})
        report.add_test(plain_test(row, draw(st.sampled_from(OUTCOMES)), nodeid=draw(NAMES)))
    report.interrupted = draw(st.booleans())
    report.created = draw(st.none() | NAMES)
    report.notes = draw(st.lists(NAMES, max_size=2))
    return report


def _is_environment(known):
    return not list(faults(known, schema()["$defs"]["environment"], ""))


def full_document():
    rows = [*measured_rows(), plain_row(variant="qat", error="train ERROR: no data")]
    rows[1]["recipe"] = {"kind": "static"}
    rows[0]["work"] = work_cells()
    rows[1] |= {
        "explanation": explanation_cells(),
        "remedy": remedy_cells(),
        "slowness": slowness_cells(),
        "tensors": tensors_cells(),
    }
    rows[1]["metrics"][0]["classes"] = [{"label": 3, "samples": 20, "value": 0.9, "drop": 0.05}]
    report = Report({"torch": "2.15.0", "threads": 2, "vnni": True}, rows)
    report.add({"verdicts": [plain_verdict(rows[1]), plain_verdict(rows[1], "FAIL")]})
    report.add_test(plain_test(rows[1], "failed", "AssertionError: size FAIL"))
    report.since = {"name": "main", "changes": [], "remarks": ["nothing changed"]}
    return json.loads(report.to_json())


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(schema())


def test_the_schema_uses_no_word_that_the_reader_does_not_know():
    known = {"type", "required", "properties", "items", "enum", "$ref", "additionalProperties",
             "minimum", "description", "title", "$schema", "$id", "$defs"}  # fmt: skip

    def words(form):
        yield from form
        for part in (*form.get("properties", {}).values(), *form.get("$defs", {}).values()):
            yield from words(part)
        for name in {"items", "additionalProperties"} & form.keys():
            yield from words(form[name])

    assert set(words(schema())) <= known


def test_a_report_keeps_to_the_schema_and_the_schema_describes_all_of_it():
    document = full_document()
    VALIDATOR.validate(document)
    strict = copy.deepcopy(schema())
    for form in (strict, *strict["$defs"].values()):
        if "properties" in form and not form["properties"].keys() & {"status"}:
            form["additionalProperties"] = False
    jsonschema.Draft202012Validator(strict).validate(document)


@settings(max_examples=60, deadline=None)
@given(reports())
def test_what_is_written_is_read_again(report):
    document = report.to_dict()
    assert Report.from_dict(document) == report
    VALIDATOR.validate(document)
    assert Report.from_json(report.to_json()) == report


@settings(max_examples=25, deadline=None)
@given(reports())
def test_what_the_schema_allows_can_be_shown(report):
    document = json.loads(report.to_json())
    read = Report.from_dict(document)
    assert html_of(read, plots=lambda report: []).endswith("</html>")
    assert len(markdown_of(read).splitlines()) < 60
    assert list(summary_lines(read, "simple"))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_reader_refuses_what_the_schema_refuses(data):
    """One thing of a good document is replaced or removed, anywhere."""
    document = full_document()
    place, parts = document, []
    while True:
        key = data.draw(
            st.sampled_from(range(len(place)) if isinstance(place, list) else list(place))
        )
        parts.append(str(key))
        if not (isinstance(place[key], list | dict) and place[key] and data.draw(st.booleans())):
            break
        place = place[key]
    if data.draw(st.booleans()):
        place[key] = data.draw(PLAIN)
    else:
        del place[key]
    if VALIDATOR.is_valid(document) and document["version"] <= VERSION:
        assert Report.from_dict(document).to_dict()["version"] == VERSION
    else:
        with pytest.raises(ValueError, match="report"):
            Report.from_dict(document)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], "no report: expected an object, not a list"),
        (None, "no report: expected an object, not null"),
        ({}, "no report of pytest-quant: version, environment, rows, verdicts is missing"),
        ({"version": "1.0", "results": []}, "no report of pytest-quant: environment, rows, verdicts"),
        (full_document() | {"version": VERSION + 1},
         f"of version {VERSION + 1}, written by a later pytest-quant, and this .* up to {VERSION}"),
        (full_document() | {"version": 4.0}, "of version 4.0, written by a later pytest-quant"),
        (full_document() | {"version": 4, "environment": {"pytest_quant": "0.9"}},
         "by pytest-quant 0.9, and"),
        (full_document() | {"version": 0}, "damaged: report.version is 0; the least is 1"),
        (full_document() | {"version": True}, "damaged: report.version is true or false, not a whole"),
        (full_document() | {"rows": {}}, "damaged: report.rows is an object, not a list"),
        (full_document() | {"rows": [7]}, r"damaged: report.rows\[0\] is a whole number, not an object"),
        (full_document() | {"rows": [{"model": "Net"}]}, r"damaged: report.rows\[0\].where is missing"),
        (full_document() | {"verdicts": [plain_verdict(plain_row(), "GOOD")]},
         r"damaged: report.verdicts\[0\].outcome is 'GOOD'; allowed: PASS, FAIL, INCONCLUSIVE"),
    ],
)  # fmt: skip
def test_another_document_is_refused_by_a_sentence(document, said):
    with pytest.raises(ValueError, match=said):
        Report.from_dict(document)


@pytest.mark.parametrize("text", ["", "{", "\x00", "[" * 100_000])
def test_a_text_that_is_no_json_is_refused_by_a_sentence(text):
    with pytest.raises(ValueError, match="no report: the text is not JSON"):
        Report.from_json(text)


def test_what_a_later_version_adds_is_left_alone():
    document = full_document()
    document["weather"] = "fine"
    document["rows"][0]["colour"] = "blue"
    report = Report.from_dict(document)
    assert report.rows[0].to_dict()["colour"] == "blue"
    assert "weather" not in report.to_dict()


def test_a_report_from_before_tests_were_kept_is_read():
    document = full_document()
    for name in ("tests", "created", "may_ship", "since", "notes"):
        del document[name]
    report = Report.from_dict(document)
    assert (report.tests, report.created) == ([], None)


def test_a_report_from_before_explanations_is_read_and_shown():
    document = full_document()
    del document["choices"]
    for row in document["rows"]:
        for name in (*PARTS, "work"):
            del row[name]
    VALIDATOR.validate(document)
    report = Report.from_dict(document)
    assert "Where it is lost" not in html_of(report)
    assert "## Causes" not in markdown_of(report)
    assert not any("where it is lost" in line for line in summary_lines(report, "simple"))
    VALIDATOR.validate(report.to_dict())
