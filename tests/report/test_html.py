"""The page: whole, self-contained, well-formed, in order, and what anybody names stays text."""

import re
import warnings
from itertools import pairwise

import pytest
from builders import measured_rows, plain_row, plain_test, plain_verdict
from hostile import HOSTILE
from page import Page

from pytest_quant.report.document import Report
from pytest_quant.report.html import WITHOUT_PLOTS, html_of


def report(**known):
    rows = [*measured_rows("Net"), *measured_rows("Other")]
    rows[1]["metrics"][0]["classes"] = [
        {"label": label, "samples": 20, "value": 0.9, "drop": label / 100} for label in range(30)
    ]
    rows[1]["recipe"] = {"kind": "static", "flow": "fx", "engine": "x86", "epochs": 2, "lr": 1e-4}
    rows[1]["seconds"] = {"convert": 0.0431, "train": 12.0}
    verdicts = [plain_verdict(rows[1]), plain_verdict(rows[3], "FAIL", test="test_other")]
    verdicts.append(
        plain_verdict(rows[1], gate="min_speedup", quantity="speed-up", limit=1.5, observed=2.0)
    )
    tests = [plain_test(rows[1]), plain_test(rows[3], "failed", nodeid="test_other")]
    environment = {"torch": "2.15.0", "vnni": True, "cores": 2}
    return Report(environment, rows, verdicts, tests=tests, **known)


@pytest.fixture(scope="module")
def text():
    return html_of(report(created="2026-11-21T10:18:33+00:00"))


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_the_answer_is_the_heading_and_each_model_has_its_own(page):
    assert page.texts_in("h1") == ["May ship:"]
    assert page.texts_in("strong") == ["no"]
    assert page.texts_in("dt")[:2] == ["Other", "Net"]  # a no first
    assert page.texts_in("dd")[:2] == ["size FAIL: so it is", "all 2 gates hold (static)"]
    assert "2026-11-21 10:18 UTC" in page.texts_in("span")


def test_nothing_is_fetched_and_nothing_runs(page, text):
    assert not {"script", "img", "iframe", "object", "form"} & {tag for tag, _ in page.elements}
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("href", "src", "xlink:href"):
                assert value.startswith(("#", "data:,"))
        assert tag != "link" or attributes == {"rel": "icon", "href": "data:,"}
    style = re.search(r"<style>(.*?)</style>", text, re.S)[1]
    assert "url(" not in style
    assert "@import" not in style
    (policy,) = [each["content"] for each in page.of("meta") if "http-equiv" in each]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def test_headings_are_in_order(page):
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert page.texts_in("h2") == [
        "Results", "Plots", "Gates", "Which kind to choose", "Recipes", "Durations", "Tests",
        "Environment",
    ]  # fmt: skip


def test_every_table_has_a_caption_and_every_head_a_scope(page):
    assert len(page.of("caption")) == len(page.of("table")) == 5
    assert all(head.get("scope") in ("col", "row", "rowgroup") for head in page.of("th"))
    assert all(each["aria-label"] for _, each in page.elements if "tabindex" in each)


def test_every_plot_says_what_it_shows_to_those_who_do_not_see_it(page, text):
    plots = page.of("svg")
    assert len(plots) == 2 * 3 + 1  # accuracy, speed-up and size of both; classes of one
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    for plot in plots:
        assert plot["role"] == "img"
        assert set(plot["aria-labelledby"].split()) <= set(ids)
    assert "Net: speed-up" in page.texts_in("title")
    assert "static: 2.00x [1.90, 2.10], limit 1.5x" in page.texts_in("desc")
    used = re.findall(r'(?:xlink:href="|url\()#([^")]*)', text)
    assert set(used) <= set(ids)


def test_every_number_of_the_table_is_there(page):
    cells = page.texts_in("td")
    for cell in ("1.25", "3.20x", "94.00 %", "1.00 pt", "3.00 %", "2.00x [1.90, 2.10]", "97.50 %"):
        assert cells.count(cell) == 2
    assert page.texts_in("th")[:2] == ["variant", "MB"]


def test_gates_come_with_limit_observed_value_and_evidence(page):
    cells = page.texts_in("td", "span")
    at = cells.index("FAIL")
    assert cells[at : at + 7] == [
        "FAIL", "Other", "static", "size", "≤ 0.3 of FP32", "0.25 of FP32", "so it is",
    ]  # fmt: skip


def test_recipes_and_durations_say_what_was_used(page):
    assert "static: flow fx, engine x86" in page.texts_in("td")
    cells = page.texts_in("td")
    assert cells[cells.index("12.0") : cells.index("12.0") + 2] == ["12.0", "0.04"]


def test_what_changed_since_a_baseline_is_a_column_and_notes():
    rows = measured_rows()
    place = {name: rows[1][name] for name in ("where", "model", "variant")}
    since = {"name": "main", "changes": [place | {"status": "new"}], "remarks": ["so it differs"]}
    page = Page(html_of(Report({}, rows, since=since)))
    assert "since main" in page.texts_in("th")
    assert "new" in page.texts_in("td")
    assert "so it differs" in page.texts_in("li")


def test_without_matplotlib_the_page_says_how_to_have_plots():
    def missing(report):
        raise ImportError("No module named 'matplotlib'")

    page = Page(html_of(report(), plots=missing))
    assert page.of("svg") == []
    assert WITHOUT_PLOTS in page.texts_in("p")
    assert "static" in page.texts_in("th")


def test_a_warning_of_matplotlibs_is_not_the_runs():
    def warns(report):
        warnings.warn("of a later version", DeprecationWarning, stacklevel=1)
        return []

    assert "could not be drawn" not in html_of(report(), plots=warns)


def test_when_drawing_fails_the_page_is_there_all_the_same():
    def fails(report):
        raise OverflowError("too <large>")

    assert "The plots could not be drawn: OverflowError: too <large>" in Page(
        html_of(report(), plots=fails)
    ).texts_in("p")


def test_an_empty_report_is_a_page():
    page = Page(html_of(Report()))
    assert page.texts_in("strong") == ["undecided"]
    assert page.texts_in("h2") == ["Results"]


def test_the_same_report_gives_the_same_page(text):
    assert html_of(report(created="2026-11-21T10:18:33+00:00")) == text


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_stays_text_wherever_it_stands(name):
    harmless = html_of(named("harmless"))
    text = html_of(named(name))
    page = Page(text)
    if name.strip():  # a metric of no name has no column of its own
        assert [tag for tag, _ in page.elements] == [tag for tag, _ in Page(harmless).elements]
    assert text.encode("utf-8")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e]", text)
    if name.strip() and len(name) < 60 and name.isprintable():
        assert name in page.texts_in("dt")
        assert name in page.texts_in("td")


def named(name):
    rows = measured_rows(name)
    rows[1]["metrics"][0]["name"] = name
    rows[1]["recipe"] = {"kind": name, "observer": name or None}
    rows[1]["notes"] = [name]
    verdict = plain_verdict(rows[1], "FAIL", sentence=f"size FAIL: {name}")
    return Report({"torch": name}, rows, [verdict])


def test_a_page_of_many_rows_is_cut_and_says_so():
    rows = [plain_row(f"Net {index}") for index in range(1000)]
    verdicts = [plain_verdict(row) for row in rows[:-1]] + [plain_verdict(rows[-1], "FAIL")]
    page = Page(html_of(Report({}, rows, verdicts)))
    assert page.texts_in("p").count("... and 700 more in report.json") == 2
    assert "Net 999" in page.texts_in("td")
    assert page.texts_in("td", "span").index("Net 999") < page.texts_in("td", "span").index("Net 0")


def colours(text):
    return {
        name: [int(value[at : at + 2], 16) / 255 for at in (0, 2, 4)]
        for name, value in re.findall(r"--([\w-]+): #([0-9a-f]{6})", text)
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_colours_can_be_told_from_the_paper(text, scheme):
    """WCAG 2: 4.5 for text, 3 for marks."""
    first, second = re.findall(r":root \{(.*?)\}", text, re.S)[:2]
    known = colours(first if scheme == "light" else second)

    def luminance(colour):
        parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    paper = luminance(known["paper"])
    for name, colour in known.items():
        low, high = sorted((paper, luminance(colour)))
        contrast = (high + 0.05) / (low + 0.05)
        if name in ("ink", "muted", "yes", "no", "undecided"):
            assert contrast >= 4.5, name
        elif name.startswith(("series", "fp32")):
            assert contrast >= 3, name
