"""Progress: a bar that goes away, a line that stays, or nothing."""

import io
import re

import pytest

from pytest_quant.machine.progress import BACK, LINE_BELOW, bars, lines, silent


def test_silence_takes_any_count():
    with silent("calibrate", None, "samples") as advance:
        assert advance(32) is None


def test_a_line_is_written_once_when_the_step_is_over():
    written = []
    with lines(written.append)("calibrate", 200, "samples") as advance:
        advance(32)
        advance(16)
        assert written == []
    (line,) = written
    assert re.fullmatch(r"calibrate: 48 samples in \d+\.\d s", line)


def test_steps_do_not_add_up():
    written = []
    progress = lines(written.append)
    for count in (3, 5):
        with progress("evaluate", None, "batches") as advance:
            advance(count)
    assert [line.split(" in ")[0] for line in written] == [
        "evaluate: 3 batches",
        "evaluate: 5 batches",
    ]


def test_a_step_that_fails_writes_no_line():
    written = []
    with pytest.raises(KeyError), lines(written.append)("train", 10, "steps"):
        raise KeyError
    assert written == []


@pytest.mark.parametrize("total", [4, None])
def test_a_bar_shows_the_step_and_leaves_nothing(total):
    stream = io.StringIO()
    with bars(stream)("train", total, "steps") as advance:
        assert advance(2) is None
    assert "train: " in stream.getvalue()
    assert stream.getvalue().startswith(LINE_BELOW)
    assert stream.getvalue().endswith(BACK)
    assert stream.getvalue().removesuffix(BACK).split("\r")[-2].strip() == ""


def test_a_bar_leaves_nothing_when_the_step_fails():
    stream = io.StringIO()
    with pytest.raises(KeyError), bars(stream)("train", 4, "steps"):
        raise KeyError
    assert stream.getvalue().endswith(BACK)
