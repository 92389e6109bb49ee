"""Plots: what is drawn where, deterministic, in the page's colours, without a trace in matplotlib."""

import re
import subprocess
import sys
import warnings

import matplotlib
import pytest
from builders import latency_cells, measured_rows, metric_cells, plain_row, plain_verdict
from hostile import HOSTILE, hostile_report

from pytest_quant.baseline.row import Row
from pytest_quant.report.document import Report
from pytest_quant.report.plots.classes import dropped, worst_of
from pytest_quant.report.plots.drawing import FP32, INK, Drawing, own_style
from pytest_quant.report.plots.models import MOST_MODELS, plots_of
from pytest_quant.report.plots.pareto import Placed, front
from pytest_quant.report.plots.points import MOST_VARIANTS, points_of
from pytest_quant.report.plots.sizes import int8_part


def titles(report):
    return [[plot.title for plot in model.plots] for model in plots_of(report)]


def test_each_model_has_a_plot_of_whatever_was_measured():
    rows = measured_rows()
    assert titles(Report({}, rows)) == [["Top-1 against latency", "Speed-up", "Size"]]
    rows[1]["latency"] = None
    assert titles(Report({}, rows)) == [["Size"]]
    assert titles(Report({}, [plain_row()])) == []
    assert titles(Report()) == []


def test_classes_are_plotted_when_one_differs():
    rows = measured_rows()
    for drop, shown in ((0.0, False), (-0.1, True), (0.1, True)):
        classes = [{"label": label, "samples": 9, "value": 0.5, "drop": drop} for label in range(3)]
        rows[1]["metrics"][0]["classes"] = classes
        assert ("Drop by class" in titles(Report({}, rows))[0]) == shown


def test_the_worst_classes_of_any_variant_come_first():
    def row(variant, *drops):
        classes = [
            {"label": label, "samples": 1, "value": 0, "drop": drop}
            for label, drop in enumerate(drops)
        ]
        return Row.from_dict(plain_row(variant=variant, metrics=[metric_cells(classes=classes)]))

    known = dropped(points_of([row("a", 0.1, 0.0, 0.3), row("b", 0.2, 0.5)]))
    assert known.drops == {0: [0.1, 0.2], 1: [0.0, 0.5], 2: [0.3, None]}
    assert worst_of(known) == [1, 2, 0]
    many = points_of([row("a", *[0.0] * 50, 0.1)])
    assert len(worst_of(dropped(many))) == 20
    assert worst_of(dropped(many))[0] == 50


@pytest.mark.parametrize(
    ("higher", "best"), [(True, ([1.0, 3.0], [0.8, 0.9])), (False, ([1.0, 2.0], [0.8, 0.7]))]
)
def test_the_front_holds_what_nothing_beats_in_both(higher, best):
    points = [(1, 0.8), (2, 0.7), (3, 0.9), (4, 0.9), (5, 0.85)]
    placed = [Placed(None, float(ms), value) for ms, value in points]
    assert front(placed, higher) == best


@pytest.mark.parametrize(
    ("share", "own", "part"),
    [
        (0.9186, 5_715_704, 0.739),  # the example's CNN: 18.3 MB of FP32, of which 1.5 MB stayed
        (1.0, 1_000_000, 1.0),
        (0.0, 18_312_768, 0.0),
        (None, 5_000_000, 0.0),
        (0.5, 1_000_000, 0.0),  # smaller than what stayed FP32: cannot be told
    ],
)
def test_the_int8_part_is_what_is_not_parameters_in_fp32(share, own, part):
    row = plain_row(
        size={"tensor_bytes": own, "file_bytes": None},
        fp32_size=18_312_768,
        int8_share={"parameters": share, "macs": None},
    )
    assert int8_part(Row.from_dict(row)) == pytest.approx(part, abs=0.001)


def test_only_so_many_models_and_variants_are_plotted():
    rows = [row for index in range(30) for row in measured_rows(f"Net {index}")]
    assert len(plots_of(Report({}, rows))) == MOST_MODELS
    assert (
        len(points_of(Report({}, [plain_row(variant=f"v{index}") for index in range(50)]).rows))
        == MOST_VARIANTS
    )


def svgs(report):
    return [plot.svg for model in plots_of(report) for plot in model.plots]


def test_the_same_numbers_give_the_same_svg_in_any_process():
    report = Report({}, measured_rows())
    program = (
        "import sys\n"
        "from pytest_quant.report.document import Report\n"
        "from pytest_quant.report.plots.models import plots_of\n"
        "(model,) = plots_of(Report.from_json(sys.stdin.read()))\n"
        "print([plot.svg for plot in model.plots], 'matplotlib.pyplot' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        input=report.to_json(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert run.stdout.strip() == f"{svgs(report)} False"  # nor is pyplot loaded


def test_there_is_neither_date_nor_colour_nor_font_of_matplotlibs():
    for svg in svgs(Report({}, measured_rows())):
        assert not re.search(r"#[0-9a-f]{6}\b", svg)
        assert "var(--muted)" in svg or "var(--fp32)" in svg
        for word in ("DejaVu", "metadata", "matplotlib.org", "<style", "<?xml", "<!DOCTYPE"):
            assert word not in svg


def test_matplotlib_is_left_as_it_was():
    own = svgs(Report({}, measured_rows()))
    with matplotlib.rc_context({"font.size": 77.0, "lines.linewidth": 9.0, "svg.hashsalt": "x"}):
        before = settings_of_matplotlib()
        assert svgs(Report({}, measured_rows())) == own  # whatever was set
        assert settings_of_matplotlib() == before


def settings_of_matplotlib():
    """All but the backend: to ask for that one is to choose it."""
    return {name: matplotlib.rcParams[name] for name in matplotlib.rcParams if name != "backend"}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_in_a_plot_is_text(name):
    with own_style(), warnings.catch_warnings():
        warnings.simplefilter("error")
        drawing = Drawing(40)
        drawing.text(0, 10, name)
        drawing.text(0, 20, "other")
        svg = drawing.svg("plot", name, name)
    assert svg.count("<text") == svg.count("</text>") == 2
    assert ">other</text>" in svg
    for tag in ("<script", "<img", "</title></style>"):
        assert tag not in svg


def test_stand_ins_are_found_in_what_we_draw_and_not_in_what_others_write():
    with own_style():
        drawing = Drawing(40)
        drawing.line([0, 10], [5, 5], INK)
        drawing.mark(5, 5, FP32, "D", 6)
        drawing.text(0, 10, f'{INK} %0% id="x" url(#x)')
        svg = drawing.svg("plot", "title", "description")
    assert f">{INK} %0% id=&quot;x&quot; url(#x)</text>" in svg
    assert "stroke: var(--ink)" in svg


def test_numbers_that_cannot_be_drawn_are_left_out():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for svg in svgs(hostile_report()):
            assert "nan" not in svg.split("<desc")[0]


def test_a_loss_is_better_when_lower():
    rows = measured_rows()
    for row in rows:
        row["metrics"][0] |= {"name": "loss", "unit": "raw", "higher_is_better": False}
    plot = plots_of(Report({}, rows))[0].plots[0]
    assert plot.title == "Loss against latency"
    assert "loss, lower is better" in plot.svg
    assert plot.caption.startswith("Better is down")


def test_a_limit_is_marked_where_a_test_stated_one():
    rows = measured_rows()
    rows[1]["latency"] = latency_cells(2.0)
    without = plots_of(Report({}, rows))[0].plots[1]
    verdict = plain_verdict(rows[1], gate="min_speedup", limit=1.5)
    limited = plots_of(Report({}, rows, [verdict]))[0].plots[1]
    assert "limit" not in without.caption + without.svg
    assert "limit 1.5x" in limited.svg
    assert "The upright tick is the limit." in limited.caption
