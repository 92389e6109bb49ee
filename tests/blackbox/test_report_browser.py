"""The example's page in a browser: complete, quiet, self-contained, and readable on a phone."""

from dataclasses import replace
from pathlib import Path

import browser
import pytest
from builders import (
    explanation_cells,
    layer_cells,
    measured_rows,
    plain_verdict,
    remedy_cells,
    slowness_cells,
    tensors_cells,
)

from pytest_quant.report.document import Report
from pytest_quant.report.html import html_of

EXAMPLE = Path(__file__).parents[2] / "reports" / "report.json"
WIDTHS = (390, 1440)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(browser.found() is None, reason="there is no Chromium on PATH"),
]
# elements that reach beyond the window and are in no container that scrolls
STICKS_OUT = """
[...document.body.querySelectorAll("*")]
  .filter(each => !each.closest(".scroll, svg"))
  .filter(each => each.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
  .map(each => each.tagName + " " + each.textContent.slice(0, 40))
"""
SMALL = """
[...document.querySelectorAll("svg text")]
  .map(each => each.getBoundingClientRect().height)
  .filter(height => height > 0 && height < 9).length
"""
# texts of one plot that lie on top of each other
OVERLAPS = """
[...document.querySelectorAll("svg")].flatMap(svg => {
  const boxes = [...svg.querySelectorAll("text")]
    .map(each => [each.textContent, each.getBoundingClientRect()]);
  return boxes.flatMap(([a, x], i) => boxes.slice(i + 1)
    .filter(([b, y]) => Math.min(x.right, y.right) - Math.max(x.left, y.left) > 1
                     && Math.min(x.bottom, y.bottom) - Math.max(x.top, y.top) > 1)
    .map(([b, y]) => a + " / " + b));
})
"""


@pytest.fixture(scope="module")
def report():
    return Report.from_json(EXAMPLE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(report, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(html_of(report), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def explained(tmp_path_factory):
    """A page of two networks that were explained, one of 300 layers with long names."""
    rows = [*measured_rows("Net"), *measured_rows("Long")]
    rows[1] |= {"explanation": explanation_cells(), "remedy": remedy_cells()}
    fault = "activations: outlier channel, max 43x the median"
    layers = [
        layer_cells(f"encoder.layers.encoder_layer_{index}.self_attention.out_proj",
                    0.4 if index in (20, 200) else 0.0006, faults=(fault,) * (index % 3))
        for index in range(300)
    ]  # fmt: skip
    rows[3] |= {
        "explanation": explanation_cells(*layers), "remedy": remedy_cells(False),
        "slowness": slowness_cells(), "tensors": tensors_cells(), "recipe": {"kind": "static"},
    }  # fmt: skip
    path = tmp_path_factory.mktemp("explained") / "report.html"
    verdicts = [plain_verdict(rows[1], "FAIL")]
    path.write_text(html_of(Report({}, rows, verdicts)), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser.Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.parametrize("width", WIDTHS)
def test_the_verdict_and_every_row_are_there(chromium, page, report, width):
    chromium.look(width)
    chromium.open(page)
    assert chromium.value("document.querySelector('h1').innerText").startswith("May ship: ")
    shown = chromium.value(
        "[...document.querySelectorAll('.results tbody th[scope=row]')].map(each => each.innerText)"
    )
    assert shown == [row.variant for row in report.rows]
    gates = chromium.value("document.querySelectorAll('.mark').length")
    assert gates == len(report.verdicts)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_fetched_and_nothing_complains(chromium, page, width, scheme):
    chromium.look(width, scheme=scheme)
    chromium.open(page)
    assert chromium.requests() == [page]
    assert chromium.complaints() == []


@pytest.mark.parametrize("width", [320, *WIDTHS])
def test_nothing_sticks_out_of_the_window(chromium, page, width):
    chromium.look(width)
    chromium.open(page)
    assert chromium.value("document.documentElement.scrollWidth") <= width
    assert chromium.value(STICKS_OUT) == []


@pytest.mark.parametrize("width", [320, *WIDTHS])
def test_where_it_is_lost_fits_into_the_window(chromium, explained, width):
    chromium.look(width)
    chromium.open(explained)
    assert chromium.value("document.documentElement.scrollWidth") <= width
    assert chromium.value(STICKS_OUT) == []
    assert chromium.complaints() == []
    wide = "[...document.querySelectorAll('.layers')].map(each => each.scrollWidth)"
    assert max(chromium.value(wide)) <= width  # is read without being pushed to and fro


@pytest.mark.parametrize("width", WIDTHS)
def test_bars_are_as_long_as_the_shares_and_the_worst_are_told_apart(chromium, explained, width):
    chromium.look(width)
    chromium.open(explained)
    bars = "[...document.querySelector('.layers').querySelectorAll('.bar span')]"
    first, second, third = chromium.value(f"{bars}.map(each => each.getBoundingClientRect().width)")
    assert first > 60
    assert second / first == pytest.approx(0.08 / 0.72, rel=0.05)
    assert third / first == pytest.approx(0.20 / 0.72, rel=0.05)
    red, grey, _ = chromium.value(f"{bars}.map(each => getComputedStyle(each).backgroundColor)")
    assert red != grey
    strip = "[...document.querySelectorAll('.strip rect')]"
    heights = chromium.value(f"{strip}.map(each => each.getBoundingClientRect().height)")
    assert len(heights) == 300
    assert [index for index, height in enumerate(heights) if height > 50] == [20, 200]


def test_where_it_is_lost_prints(chromium, explained):
    chromium.look(690, media="print")
    chromium.open(explained)
    assert chromium.value("document.documentElement.scrollWidth") <= 690
    assert chromium.pdf().startswith(b"%PDF")


@pytest.mark.parametrize("width", WIDTHS)
def test_plots_are_drawn_and_their_texts_can_be_read(chromium, page, width):
    chromium.look(width)
    chromium.open(page)
    assert chromium.value("document.querySelectorAll('svg').length") >= 6
    assert chromium.value(SMALL) == 0
    assert chromium.value(OVERLAPS) == []


def test_dark_is_dark_with_light_text(chromium, page):
    sums = {}
    for scheme in ("light", "dark"):
        chromium.look(1440, scheme=scheme)
        chromium.open(page)
        for name, what in {
            "paper": "getComputedStyle(document.body).backgroundColor",
            "ink": "getComputedStyle(document.body).color",
            "plot": "getComputedStyle(document.querySelector('svg text')).fill",
        }.items():
            colour = chromium.value(what)
            sums[scheme, name] = sum(map(int, colour.removeprefix("rgb(").rstrip(")").split(",")))
    assert sums["light", "paper"] > 600 > 300 > sums["dark", "paper"]
    assert sums["light", "ink"] < 300 < sums["dark", "ink"]
    assert sums["light", "plot"] < sums["dark", "plot"]


def test_it_prints(chromium, page):
    chromium.look(1440)
    chromium.open(page)
    assert chromium.pdf().startswith(b"%PDF")
    chromium.look(690, scheme="dark", media="print")
    chromium.open(page)
    assert chromium.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert chromium.value("document.documentElement.scrollWidth") <= 690


def test_a_name_of_a_script_runs_nothing(chromium, report, tmp_path):
    name = "<script>document.title = 'owned'</script><img src=x onerror=\"document.title='owned'\">"
    rows = [replace(row, model=name, variant=row.variant + name) for row in report.rows]
    path = tmp_path / "report.html"
    path.write_text(html_of(Report({}, rows)), encoding="utf-8")
    chromium.look(390)
    chromium.open(path.as_uri())
    assert chromium.value("document.title").startswith("May ship: ")
    assert chromium.value("document.querySelectorAll('script, img').length") == 0
    assert chromium.requests() == [path.as_uri()]
    assert chromium.complaints() == []
    assert chromium.value(STICKS_OUT) == []


def test_on_a_phone_the_gates_are_in_sight_and_names_break_between_words(
    chromium, report, tmp_path
):
    name = "static_with_percentile_observer_and_equalization"
    path = tmp_path / "report.html"
    rows = [replace(row, variant=name) if row.variant == "static" else row for row in report.rows]
    verdicts = [{**v, "variant": name} if v["variant"] == "static" else v for v in report.verdicts]
    path.write_text(html_of(Report({}, rows, verdicts)), encoding="utf-8")
    chromium.look(390)
    chromium.open(path.as_uri())
    ends = "[...document.querySelectorAll('td.gates')].map(e => e.getBoundingClientRect().right)"
    assert all(end <= 390 for end in chromium.value(ends))
    narrow = "[...document.querySelectorAll('.stack td')].map(e => [e.textContent, e.clientWidth])"
    assert all(width > 30 for text, width in chromium.value(narrow) if len(text) > 5)
    broken = f"document.querySelector('.results').innerHTML.includes({'with_<wbr>percentile_'!r})"
    assert chromium.value(broken)
