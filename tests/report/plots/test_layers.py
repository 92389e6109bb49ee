"""Layers: bars in the order of the network, the worst marked, a long network summed up."""

import re
from xml.etree import ElementTree

import pytest
from builders import explanation_cells, layer_cells
from hostile import HOSTILE

from pytest_quant.explain.lost.explanation import Explanation
from pytest_quant.report.plots.layers import MOST_BARS, MOST_LISTED, WORST, layers_of


def layers(*shares, sqnrs=None, **known):
    given = [
        layer_cells(f"layer{index}", share, **({"sqnr": sqnrs[index]} if sqnrs else {}))
        for index, share in enumerate(shares)
    ]
    explanation = Explanation.from_dict(explanation_cells(*given, **known))
    return layers_of(explanation, "strip", "Net static: layers")


def long(count, worst):
    rest = (1 - sum(worst.values())) / (count - len(worst))
    return layers(*(worst.get(index, rest) for index in range(count)))


def test_a_short_network_is_listed_whole_in_its_order():
    found = layers(0.1, 0.7, 0.2)
    assert [(line.position, line.name, line.share) for line in found.lines] == [
        ("1", "layer0", "10 %"), ("2", "layer1", "70 %"), ("3", "layer2", "20 %"),
    ]  # fmt: skip
    assert [round(line.width) for line in found.lines] == [14, 100, 29]
    assert [line.marked for line in found.lines] == [False, True, False]
    assert (found.strip, found.total, found.measured) == ("", 3, True)


def test_of_a_long_network_the_worst_are_listed_and_the_rest_summed_up():
    found = long(300, {17: 0.3, 140: 0.4})
    listed = [line for line in found.lines if line.position]
    between = [line for line in found.lines if not line.position]
    assert [line.name for line in listed if line.marked] == ["layer17", "layer140"]
    assert len(listed) == WORST
    assert [int(line.position) for line in listed] == sorted(int(line.position) for line in listed)
    counts = [int(re.search(r"\d+", line.name)[0]) for line in between]
    assert sum(counts) + len(listed) == 300
    assert between[-1].name == "... 159 layers"
    assert between[-1].share == "16 %"


@pytest.mark.parametrize("count", [MOST_LISTED + 1, 300])
def test_the_strip_has_a_bar_for_each_layer_and_the_worst_are_marked(count):
    svg = ElementTree.fromstring(long(count, {5: 0.6}).strip)
    bars = [each for each in svg if each.tag.endswith("rect")]
    assert len(bars) == count
    assert [index for index, bar in enumerate(bars) if bar.get("class") == "worst"] == [5]
    heights = [float(bar.get("height")) for bar in bars]
    assert max(heights) == heights[5] == 100
    assert min(heights) >= 1  # a bar of nothing is still seen
    assert "layer5: 60 %" in "".join(svg.itertext())


def test_a_network_of_thousands_of_layers_is_cut_and_says_so():
    strip = long(MOST_BARS + 500, {3: 0.5}).strip
    assert strip.count("<rect") == MOST_BARS
    assert f"{MOST_BARS + 500} layers; the first {MOST_BARS} are drawn" in strip


def test_nothing_is_marked_where_nothing_stands_out():
    assert not any(line.marked for line in layers(*[0.1] * 10).lines)
    assert not any(line.marked for line in layers(0.0, 0.0).lines)


def test_no_more_are_marked_than_make_half_of_the_noise():
    marked = [line.name for line in layers(0.3, 0.05, 0.25, 0.2, *[0.02] * 10).lines if line.marked]
    assert marked == ["layer0", "layer2"]


def test_where_no_effect_is_known_the_bars_are_the_layers_own_noise():
    found = layers(None, None, None, sqnrs=[20.0, 10.0, None])
    assert not found.measured
    assert [line.share for line in found.lines] == ["-"] * 3
    assert [round(line.width) for line in found.lines] == [10, 100, 0]
    assert [line.sqnr for line in found.lines] == ["20.0 dB", "10.0 dB", "-"]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 1e308, -1e308, -1.0, 0])
def test_numbers_that_are_none_leave_no_trace(number):
    found = layers(*[number] * (MOST_LISTED + 1), sqnrs=[number] * (MOST_LISTED + 1))
    ElementTree.fromstring(found.strip)
    text = str(found.lines) + found.strip
    assert not re.search(r"\b(nan|inf)\b", text)
    assert all(0 <= line.width <= 100 for line in found.lines)


@pytest.mark.parametrize("name", HOSTILE)
def test_names_stay_text_in_the_strip(name):
    given = [layer_cells(name, 0.9 if not index else 0.001) for index in range(40)]
    explanation = Explanation.from_dict(explanation_cells(*given))
    svg = ElementTree.fromstring(layers_of(explanation, "strip", name).strip.replace("\ud800", ""))
    assert {each.tag.rpartition("}")[2] for each in svg} == {"title", "desc", "rect"}


def test_without_layers_there_is_nothing_to_draw():
    explanation = Explanation.from_dict(explanation_cells(layers=[]))
    assert layers_of(explanation, "strip", "Net") is None
