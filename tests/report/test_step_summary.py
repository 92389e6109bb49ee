"""The step summary is appended to, within what GitHub takes, and never at the run's expense."""

import pytest
from builders import plain_row

from pytest_quant.report.document import Report
from pytest_quant.report.markdown import markdown_of
from pytest_quant.report.step_summary import MOST, summary_appended

REPORT = Report({}, [plain_row()])
PAGE = markdown_of(REPORT).encode()


@pytest.fixture
def summary(tmp_path, monkeypatch):
    path = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    return path


@pytest.mark.parametrize("unset", [True, False])
def test_without_the_variable_nothing_happens(monkeypatch, unset):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "")
    if unset:
        monkeypatch.delenv("GITHUB_STEP_SUMMARY")
    assert list(summary_appended(REPORT)) == []


@pytest.mark.parametrize(
    ("there", "between"),
    [(None, b""), (b"", b""), (b"before", b"\n\n"), (b"before\n", b"\n"), (b"before\n\n", b"")],
)
def test_the_page_comes_after_what_is_there(summary, there, between):
    if there is not None:
        summary.write_bytes(there)
    assert list(summary_appended(REPORT)) == []
    assert summary.read_bytes() == (there or b"") + between + PAGE


def test_what_is_there_counts(summary):
    room = MOST - len(PAGE)
    summary.write_bytes(b"\n" * room)
    assert list(summary_appended(REPORT)) == []
    assert summary.stat().st_size == MOST
    summary.write_bytes(b"\n" * (room + 1))
    (line,) = summary_appended(REPORT)
    assert line == "the step summary was not written: GitHub takes 1 MiB, and that is full"
    assert summary.stat().st_size == room + 1


def test_what_cannot_be_written_is_a_line(summary):
    summary.mkdir()
    (line,) = summary_appended(REPORT)
    assert line.startswith("the step summary was not written: ")
