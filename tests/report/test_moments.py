"""A reader who divides milliseconds of two moments is told not to."""

import pytest
from builders import plain_row

from pytest_quant.report.document import Report
from pytest_quant.report.html import html_of
from pytest_quant.report.markdown import markdown_of
from pytest_quant.report.moments import moments
from pytest_quant.report.terminal import summary_lines


def timed(variant, ms, fp32_ms, **known):
    latency = {
        "ms": ms, "fp32_ms": fp32_ms, "batch": 1, "speedup": fp32_ms / ms if fp32_ms else 1.0,
        "interval_95": None, "rounds": 8, "against_best": None,
    }  # fmt: skip
    return plain_row(variant=variant, latency=latency, **known)


def test_rows_of_another_moment_than_fp32s_are_named(monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    rows = [plain_row(variant="fp32"), timed("dynamic", 84, 85), timed("static", 7, 11.9)]
    report = Report({}, rows)
    (found,) = moments(report)
    assert found.startswith("Net dynamic: FP32 took 85 ms beside it, not 11.9, since the machine")
    for text in (
        "\n".join(summary_lines(report, "simple")),
        markdown_of(report),
        html_of(report, lambda report: []),
    ):
        assert "FP32 took 85 ms beside it, not 11.9" in text


@pytest.mark.parametrize("fp32_ms", [11.9, 12.5, 10.5, None])
def test_rows_of_about_the_same_moment_are_not(fp32_ms):
    rows = [timed("dynamic", 9, fp32_ms), timed("static", 7, 11.9)]
    assert not list(moments(Report({}, rows)))


def test_another_models_fp32_is_another_matter():
    rows = [timed("static", 9, 90, model="Big"), timed("static", 7, 11.9, model="Small")]
    assert not list(moments(Report({}, rows)))
