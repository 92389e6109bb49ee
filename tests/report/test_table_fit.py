"""Fit: the terminal's table is never wider than the terminal, and loses nothing but columns of nothing."""

import pytest
from builders import latency_cells, measured_rows, metric_cells, plain_row, plain_verdict
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_quant.report.document import Report
from pytest_quant.report.frame import frame_of
from pytest_quant.report.table_fit import FITTED, terminal_table
from pytest_quant.report.width import width_of

LONG = "ImageClassifierWithARatherLongName"
OTHER = "timm.models.vision_transformer.VisionTransformer[patch16-224]"
VARIANTS = ("dynamic", "static", "qat", "custom(build=test_ships.<lambda>)")


def report_of(*models, variants=VARIANTS, **known):
    """Everything is measured on each variant of each model."""
    rows, verdicts = [], []
    for model in models:
        rows.append(plain_row(model, "fp32", metrics=[metric_cells()]))
        for variant in variants:
            metrics = [metric_cells(drop=0.01, flips=4)]
            row = plain_row(
                model, variant, metrics=metrics, latency=latency_cells(against_best=1.5)
            )
            rows.append(row | known)
            verdicts += [plain_verdict(row), plain_verdict(row, "FAIL")]
    return Report(rows=rows, verdicts=verdicts)


def table(report, columns=None, format="simple"):
    return terminal_table(frame_of(report), format, columns)


def test_a_column_in_which_nothing_stands_is_left_out():
    heads = table(Report(rows=[plain_row(), *measured_rows()])).splitlines()[0]
    assert "vs best FP32" not in heads
    assert "MB" in heads
    assert table(Report(rows=[plain_row()])).splitlines()[0].split() == ["model", "variant"]


def test_a_column_in_which_one_thing_stands_stays():
    rows = [plain_row("Net", "fp32"), plain_row(latency=latency_cells(against_best=1.5))]
    assert "vs best FP32" in table(Report(rows=rows)).splitlines()[0]


@pytest.mark.parametrize("columns", [None, 200])
def test_where_there_is_room_nothing_is_cut(columns):
    text = table(report_of("Net", LONG, OTHER), columns)
    assert "..." not in text
    assert text.count(OTHER) == 5
    assert len(text.splitlines()) == 2 + 3 * 5


def test_long_names_of_models_are_cut_in_the_middle():
    rows = [plain_row(LONG, name, metrics=[metric_cells()]) for name in ("fp32", "static")]
    lines = table(Report(rows=rows), 40).splitlines()
    assert len(lines) == 4
    assert max(map(len, lines)) <= 40
    assert lines[2].startswith("Image")
    assert "..." in lines[2]
    assert "Name  fp32" in lines[2]


def test_two_names_are_not_cut_into_one():
    names = [f"{'a' * 30}{middle}{'z' * 30}" for middle in "bc"]
    rows = [plain_row(name, "static", metrics=[metric_cells()]) for name in names]
    text = table(Report(rows=rows), 60)
    assert width_of(text) <= 60
    assert "".join(line[:40].strip() for line in text.splitlines()[2:]) == "".join(names)


@pytest.mark.parametrize("columns", [100, 80])
def test_with_more_than_fits_there_is_one_block_for_each_model(columns):
    text = table(report_of("Net", LONG, OTHER), columns)
    assert width_of(text) <= columns
    blocks = [block.splitlines() for block in text.split("\n\n")]
    starts = [block[0] for block in blocks if not block[0].startswith(" ")]
    assert starts == ["Net", LONG, OTHER]
    whole = "".join(text.split())
    for name in VARIANTS[:3]:
        assert whole.count(name) == 3
    assert text.count("2.00x") == text.count("1.50x") == text.count("size FAIL") == 12
    assert text.count("[1.90, 2.10]") == 12


def test_verdicts_are_folded_between_them_before_anything_is_broken():
    row = plain_row(metrics=[metric_cells()])
    verdicts = [
        plain_verdict(row, outcome, quantity=what)
        for what, outcome in (("accuracy", "FAIL"), ("speed-up", "INCONCLUSIVE"), ("size", "FAIL"))
    ]
    text = table(Report(rows=[row], verdicts=verdicts), 60)
    assert width_of(text) <= 60
    assert all(f"{v['quantity']} {v['outcome']}" in text for v in verdicts)


def test_a_baselines_changes_are_folded():
    frame = frame_of(report_of("Net", "Other"))
    frame["since main"] = "accuracy -0.37 pt, size +1.2 %, another eval set"
    for columns in (140, 80):
        text = terminal_table(frame, "simple", columns)
        assert width_of(text) <= columns
        assert "since main" in text
        assert text.count("size +1.2 %") == 10


@pytest.mark.parametrize("format", FITTED)
def test_every_format_that_is_for_the_eye_fits(format):
    for columns in (80, 100):
        text = table(report_of("Net", LONG), columns, format)
        assert width_of(text) <= columns
        assert text.count("size FAIL") == 8


@pytest.mark.parametrize("format", ["github", "pipe", "html", "tsv", "latex"])
def test_what_programs_read_keeps_its_lines(format):
    report = report_of("Net", LONG)
    assert table(report, 80, format) == table(report, None, format)


NAMES = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=80)


@settings(max_examples=60, deadline=None)
@given(
    models=st.lists(NAMES, min_size=1, max_size=3, unique=True),
    variants=st.lists(NAMES, min_size=1, max_size=5, unique=True),
    columns=st.integers(50, 200),
    is_timed=st.booleans(),
)
def test_no_line_is_wider_than_the_terminal_whatever_the_names(models, variants, columns, is_timed):
    known = {} if is_timed else {"latency": None}
    text = table(report_of(*models, variants=variants, **known), columns)
    assert width_of(text) <= columns


def test_very_many_variants_take_a_moment():
    report = report_of("Net", variants=[f"variant {number}" for number in range(500)])
    text = table(report, 60)
    assert width_of(text) <= 60
    assert text.count("size FAIL") == 500
