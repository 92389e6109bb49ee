"""Explained: what was found out on a variant crosses processes, files and versions, and stays text."""

import copy
import json
import subprocess
import sys
from dataclasses import MISSING, fields

import pytest
from builders import (
    explanation_cells,
    layer_cells,
    measured_rows,
    plain_row,
    plain_verdict,
    remedy_cells,
    slowness_cells,
    tensors_cells,
    toy_variant,
    work_cells,
)

from pytest_quant.__main__ import main
from pytest_quant.baseline.row import Row
from pytest_quant.explain.lost.explanation import Explanation
from pytest_quant.explain.lost.layer import Layer
from pytest_quant.explain.remedies.remedy import Remedy
from pytest_quant.explain.size.layer_bytes import LayerBytes
from pytest_quant.explain.size.size_cause import Tensors
from pytest_quant.explain.speed.operators import Operator
from pytest_quant.explain.speed.slowness import Slowness, Stayed
from pytest_quant.explain.speed.stretches import Stretch
from pytest_quant.measure.work import work_of
from pytest_quant.report.document import Report
from pytest_quant.report.explained import PARTS, explained_of
from pytest_quant.report.html import html_of
from pytest_quant.report.markdown import markdown_of
from pytest_quant.report.rows import row_of
from pytest_quant.report.schema import schema
from pytest_quant.report.terminal import summary_lines
from pytest_quant.variant.key import RowKey

NEW_KEYS = (*PARTS, "work")


def explained_row(variant="static", **known):
    return plain_row(variant=variant, explanation=explanation_cells(), **known)


def test_what_was_found_out_is_in_the_row_as_plain_json():
    variant = toy_variant()
    explanation, remedy = map(copy.deepcopy, (explanation_cells(), remedy_cells()))
    variant.once("explanation", lambda: Explanation.from_dict(explanation))
    variant.once("remedy", lambda: Remedy.from_dict(remedy))
    row = json.loads(json.dumps(row_of(variant).to_dict(), allow_nan=False))
    assert (row["explanation"], row["remedy"]) == (explanation, remedy)
    assert (row["slowness"], row["tensors"]) == (None, None)


def test_of_a_variant_that_nobody_explained_or_that_could_not_be_made_nothing_is_known():
    failed = Row.blank(RowKey("", "Net", "qat"), "convert ERROR: so")
    for row in (row_of(toy_variant()).to_dict(), failed.to_dict()):
        assert {name: row[name] for name in NEW_KEYS} == dict.fromkeys(NEW_KEYS)


def test_fp32s_row_says_in_which_layers_the_work_is_once_it_was_counted():
    variant = toy_variant()
    assert row_of(variant.fp32).work is None
    _ = variant.evaluation, variant.fp32.evaluation
    assert row_of(variant.fp32).work is None  # a row only tells what was counted
    work_of(variant)
    assert row_of(variant.fp32).work["linear"] == 1.0
    assert row_of(variant).work is None


def test_two_workers_that_know_parts_make_one_row():
    for rows in (
        [explained_row(), plain_row(remedy=remedy_cells())],
        [plain_row(remedy=remedy_cells()), explained_row()],
    ):
        report = Report()
        for row in rows:
            report.add({"rows": [row]})
        (row,) = report.rows
        assert (row.explanation, row.remedy) == (explanation_cells(), remedy_cells())


@pytest.mark.parametrize("first_is_old", [True, False])
def test_a_row_from_before_explanations_is_joined_with_one_of_today(first_is_old):
    old = {name: value for name, value in plain_row(fp32_size=7).items() if name not in NEW_KEYS}
    rows = [old, explained_row()] if first_is_old else [explained_row(), old]
    report = Report()
    for row in rows:
        report.add({"rows": [row]})
    (row,) = report.rows
    assert (row.explanation, row.fp32_size) == (explanation_cells(), 7)


def test_those_with_a_fail_come_first_and_those_of_which_nothing_is_known_are_left_out():
    rows = [*measured_rows(), explained_row("qat"), explained_row("dynamic", remedy=remedy_cells())]
    passed, failed = plain_verdict(rows[2]), plain_verdict(rows[3], "FAIL")
    found = explained_of(Report({}, rows, [passed, failed]))
    assert [(each.variant, each.failed) for each in found] == [("dynamic", True), ("qat", False)]
    assert found[0].remedy == Remedy.from_dict(remedy_cells())
    assert found[1].explanation == Explanation.from_dict(explanation_cells())
    assert found[1].remedy is None


def test_namesakes_are_told_apart():
    rows = [explained_row(), explained_row() | {"where": "vision"}]
    assert [each.model for each in explained_of(Report({}, rows))] == ["Net", "Net (vision)"]


def test_every_text_is_one_printable_line():
    layer = layer_cells("one\ntwo\x1b[31m", faults=("a\tb\x07",))
    row = plain_row(
        explanation=explanation_cells(layer, sentences=["x" * 10_000]),
        remedy=remedy_cells(line="Recipe(\n'static')"),
        slowness=slowness_cells(notes=["\u202eso"]),
    )
    (each,) = explained_of(Report({}, [row]))
    (layer,) = each.explanation.layers
    assert (layer.name, layer.faults) == ("one two�[31m", ("a b�",))
    assert len(each.explanation.sentences[0]) == 400
    assert each.remedy.line == "Recipe( 'static')"
    assert each.slowness.notes == ("�so",)


def test_what_a_later_version_adds_is_left_alone():
    row = plain_row(
        explanation=explanation_cells(layer_cells() | {"hessian": 3.0}, weather="fine"),
        remedy=remedy_cells(cost=7),
        slowness=slowness_cells(energy=1.0),
    )
    row["slowness"]["operators"][0]["flops"] = 9
    (each,) = explained_of(Report({}, [row]))
    assert each.explanation.layers[0].name == "features.0"
    assert each.remedy.found
    assert each.slowness.operators[0].calls == 3.0
    assert Report({}, [row]).rows[0].remedy["cost"] == 7


@pytest.fixture
def written(tmp_path):
    def written(name, report):
        path = tmp_path / name
        path.write_text(report if isinstance(report, str) else report.to_json(), encoding="utf-8")
        return str(path)

    return written


def full_report():
    rows = measured_rows()
    rows[0]["work"], rows[1]["recipe"] = work_cells(), {"kind": "static"}
    rows[1] |= {"explanation": explanation_cells(), "remedy": remedy_cells()}
    rows[1] |= {"slowness": slowness_cells(), "tensors": tensors_cells()}
    return Report({}, rows)


@pytest.mark.parametrize("format", ["table", "markdown", "html", "json"])
def test_a_saved_report_is_shown_as_the_run_showed_it(written, capsys, format):
    report = full_report()
    assert main(["show", written("report.json", report), f"--format={format}"]) == 0
    shown = capsys.readouterr().out
    texts = {
        "table": "\n".join(summary_lines(report, "simple")),
        "markdown": markdown_of(report),
        "html": html_of(report),
        "json": report.to_json(),
    }
    assert shown.strip() == texts[format].strip()


def test_compare_and_merge_keep_what_was_found_out(written, capsys):
    report = full_report()
    old = written("old.json", Report({}, measured_rows()))
    path = written("new.json", report)
    for arguments in (["compare", old, path], ["merge", old, path], ["merge", path, old]):
        assert main([*arguments, "--format=json"]) == 0
        rows = json.loads(capsys.readouterr().out)["rows"]
        assert [{name: row[name] for name in NEW_KEYS} for row in rows] == [
            {name: getattr(row, name) for name in NEW_KEYS} for row in report.rows
        ]


def test_a_report_from_before_explanations_is_shown(written, capsys):
    document = json.loads(full_report().to_json())
    del document["choices"]
    for row in document["rows"]:
        for name in NEW_KEYS:
            del row[name]
    path = written("old.json", json.dumps(document))
    for format in ("table", "markdown", "html", "json"):
        assert main(["show", path, f"--format={format}"]) == 0
        shown = capsys.readouterr().out
        assert "3.20x" in shown or format == "json"
        assert "here it is lost" not in shown


def test_showing_it_loads_no_torch(written):
    path = written("report.json", full_report())
    code = (
        "import sys; from pytest_quant.__main__ import main; "
        f"main(['show', {path!r}, '--format=html']); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Where it is lost" in done.stdout
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize(
    ("name", "noun"),
    [("explanation", Explanation), ("layer", Layer), ("remedy", Remedy), ("slowness", Slowness),
     ("operator", Operator), ("stretch", Stretch), ("stayed", Stayed), ("tensors", Tensors),
     ("held", LayerBytes)],
)  # fmt: skip
def test_what_explains_a_variant_is_described_field_by_field(name, noun):
    form = schema()["$defs"][name]
    assert list(form["properties"]) == [field.name for field in fields(noun)]
    needed = {each.name for each in fields(noun) if each.default is each.default_factory is MISSING}
    assert needed <= set(form["required"])
