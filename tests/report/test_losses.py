"""Losses: the part of the page that says where a variant loses, what would mend it, which kind fits."""

import re
from itertools import pairwise

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
    work_cells,
)
from hostile import HOSTILE
from page import Page

from pytest_quant.report.document import Report
from pytest_quant.report.html import html_of
from pytest_quant.report.losses import MOST_VARIANTS, losses_of

ALL = {
    "explanation": explanation_cells(),
    "remedy": remedy_cells(),
    "slowness": slowness_cells(),
    "tensors": tensors_cells(),
}


def page_of(*rows, verdicts=()):
    return Page(html_of(Report({}, list(rows), list(verdicts)), plots=lambda report: []))


def tables_of(**known):
    ((loss,), _) = losses_of(Report({}, [plain_row(**known)]))
    return {table.title: table for table in loss.tables}


@pytest.fixture(scope="module")
def page():
    row = plain_row(**ALL)
    return page_of(row, verdicts=[plain_verdict(row, "FAIL")])


def test_sentences_remedy_and_layers_stand_under_the_variant(page):
    assert "Where it is lost" in page.texts_in("h2")
    assert "Net static" in page.texts_in("h3")
    said = page.texts_in("li")
    for cells in (ALL["explanation"], ALL["slowness"], ALL["tensors"]):
        assert all(sentence in said for sentence in cells["sentences"])
    line, code = page.texts_in("code")
    assert line == ALL["remedy"]["line"]
    assert code.split() == ALL["remedy"]["paste"].split()
    (loss,), _ = losses_of(Report({}, [plain_row(**ALL)]))
    assert loss.remedy.paste == ALL["remedy"]["paste"]  # code keeps its lines
    assert "What was tried (2 builds, 5 evaluations, 34 s):" in page.texts_in("p")
    assert all(trial in said for trial in ALL["remedy"]["trials"])


def test_every_layer_has_its_bar_in_the_order_of_the_network(page):
    names = [
        text for text in page.texts_in("th") if text in ("features.0", "features.3", "classifier")
    ]
    assert names[:3] == ["features.0", "features.3", "classifier"]
    widths = [each["style"] for each in page.of("span") if "style" in each]
    assert widths == ["width: 100.0%", "width: 11.1%", "width: 27.8%"]
    assert [each.get("class") for each in page.of("tr")].count("worst") == 1
    cells = page.texts_in("td")
    assert {"72 %", "14.2 dB", "depthwise, per-tensor"} <= set(cells)


def test_the_caption_says_what_the_numbers_are(page):
    (caption,) = [text for text in page.texts_in("span") if text.startswith("Share of the noise")]
    assert "on 64 samples" in caption
    assert caption.endswith(
        "The model's output: 13.6 dB with all quantized, 14.0 dB with only the weights quantized, "
        "33.1 dB with only the activations quantized."
    )


def test_headings_captions_and_regions_are_those_of_the_rest_of_the_page(page):
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h\d", tag)]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert len(page.of("caption")) == len(page.of("table"))
    assert all(head.get("scope") in ("col", "row", "rowgroup") for head in page.of("th"))
    assert all(each["aria-label"] for _, each in page.elements if "tabindex" in each)


def test_operators_conversions_and_stretches_are_tables():
    tables = tables_of(slowness=slowness_cells())
    assert tables["Time"].lines == [
        ("quantized::conv2d_relu", "int8 convolution", "3", "1.2", "60.0 %")
    ]
    assert (
        "takes 2 ms; 4 times it converts between float and int8, 21 % of it"
        in tables["Time"].caption
    )
    assert tables["FP32's time"].lines[0][0] == "aten::conv2d"
    assert tables["Float between int8"].lines == [("features.0", "sigmoid", "features.3")]
    assert tables["Stayed FP32"].lines == [("attention", "MultiheadAttention", "31.0 %")]


def test_what_was_not_profiled_has_no_table():
    empty = {name: [] for name in ("operators", "fp32_operators", "stretches", "stayed")}
    assert tables_of(slowness=slowness_cells(**empty), tensors=tensors_cells(held=[])) == {}


def test_the_largest_tensors_are_a_table():
    table = tables_of(tensors=tensors_cells())["Largest tensors"]
    assert table.lines == [
        ("classifier", "Linear", "FP32", "0.90", "72.0 %"),
        ("no layer", "Linear", "int8", "0.35", "28.0 %"),
    ]
    assert table.caption == "All tensors: 1.25 MB, 0.90 MB of it FP32."


def test_of_many_tensors_the_first_are_shown():
    held = [tensors_cells()["held"][0] | {"layer": f"layer{index}"} for index in range(300)]
    table = tables_of(tensors=tensors_cells(held=held))["Largest tensors"]
    assert table.lines[0][0] == "layer0"
    assert len(table.lines) + table.left_out == 300


def test_that_no_remedy_was_found_is_a_heading():
    page = page_of(plain_row(remedy=remedy_cells(False)))
    assert "Remedy: none to propose" in page.texts_in("h4")
    assert page.of("pre") == []
    assert "remedy none" in [each.get("class") for each in page.of("div")]
    assert "Nothing that was tried holds the limit." in page.texts_in("p")


def test_a_long_network_has_a_strip_that_says_what_it_shows():
    layers = [
        layer_cells(f"features.{index}", 0.7 if index == 9 else 0.001) for index in range(300)
    ]
    page = page_of(plain_row(explanation=explanation_cells(*layers)), plain_row("B", **ALL))
    (strip,) = page.of("svg")
    assert strip["role"] == "img"
    assert "Net static: share of the noise, layer by layer" in page.texts_in("title")
    assert "300 layers; features.9: 70 %" in page.texts_in("desc")
    assert "300 layers" in page.texts_in("span")


def test_two_strips_have_ids_of_their_own():
    layers = [layer_cells(f"features.{index}", 0.01) for index in range(100)]
    rows = [plain_row(name, explanation=explanation_cells(*layers)) for name in "AB"]
    page = page_of(*rows)
    ids = [each["id"] for _, each in page.elements if "id" in each]
    assert len(ids) == len(set(ids)) == 4


def test_which_kind_to_choose_is_said_by_model():
    rows = measured_rows()
    rows[0]["work"], rows[1]["recipe"] = work_cells(), {"kind": "static"}
    page = page_of(*rows)
    assert page.texts_in("h2")[-3:-1] == ["Results", "Which kind to choose"]
    assert "Net" in page.texts_in("dt")
    assert any("static" in text for text in page.texts_in("dd"))


def test_of_very_many_variants_those_with_a_fail_are_shown():
    rows = [plain_row(f"Net {index}", **ALL) for index in range(MOST_VARIANTS + 6)]
    page = page_of(*rows, verdicts=[plain_verdict(rows[-1], "FAIL")])
    shown = [text for text in page.texts_in("h3") if text.endswith("static")]
    assert len(shown) == MOST_VARIANTS
    assert shown[0] == f"Net {MOST_VARIANTS + 5} static"
    assert "... and 6 more in report.json" in page.texts_in("p")


@pytest.mark.parametrize("count", [2, 40])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_stays_text_wherever_it_stands(name, count):
    harmless = page_of(named("harmless", count))
    page = page_of(named(name, count))
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in harmless.elements]
    if name.strip() and len(name) < 60 and name.isprintable():
        for tag in ("th", "td", "li", "code", "h3"):
            assert any(name in text for text in page.texts_in(tag)), tag


def named(name, count):
    layers = [layer_cells(name, 1 / count, faults=(name,), type=name)] * count
    operator = slowness_cells()["operators"][0] | {"name": name, "does": name}
    return plain_row(
        name or "Net",
        explanation=explanation_cells(*layers, sentences=[name], notes=[name]),
        remedy=remedy_cells(line=name.strip() or "x", trials=[name], sentences=[name]),
        slowness=slowness_cells(operators=[operator], sentences=[name], notes=[name]),
        tensors=tensors_cells(sentences=[name], held=[
            {"layer": name, "type": name, "dtype": name, "bytes": 7, "weight_bytes": 0}
        ]),
    )  # fmt: skip
