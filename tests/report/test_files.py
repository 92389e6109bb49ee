"""Files: written whole or not at all, and nothing else left in the folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from builders import measured_rows, plain_row

from pytest_quant.machine.atomic_write import refuse_unwritable, write_atomically
from pytest_quant.report.document import Report
from pytest_quant.report.files import report_written, write_report

FILES = ["report.csv", "report.html", "report.json", "report.md"]
UNWRITABLE = "half of it \ud800"  # a lone surrogate has no UTF-8


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_report_is_four_files(tmp_path):
    folder = tmp_path / "deep" / "reports"
    paths = write_report(Report(rows=measured_rows()), folder)
    assert names_in(folder) == FILES
    assert sorted(path.name for path in paths) == FILES
    assert json.loads((folder / "report.json").read_text())["rows"] == measured_rows()
    assert (folder / "report.md").read_text(encoding="utf-8").startswith("# Quantization report")
    assert (folder / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    read = pd.read_csv(folder / "report.csv")
    assert read["variant"].tolist() == ["fp32", "static"]
    assert read["times_smaller"].tolist() == [1.0, 3.2]


def models_in(path):
    return [row["model"] for row in json.loads(path.read_text())["rows"]]


def test_a_later_report_of_the_same_variants_replaces_an_earlier_one(tmp_path):
    for note in ("First", "Second"):
        write_report(Report(rows=[plain_row(notes=[note])]), tmp_path)
    assert "First" not in "".join(path.read_text() for path in tmp_path.iterdir())
    assert names_in(tmp_path) == FILES


def test_a_report_of_more_variants_replaces_one_of_fewer(tmp_path):
    write_report(Report(rows=[plain_row()]), tmp_path)
    write_report(Report(rows=[plain_row(), plain_row(variant="qat")]), tmp_path)
    assert names_in(tmp_path) == FILES


def test_a_report_of_another_model_is_kept(tmp_path):
    """As of two shards that write into one folder, one after the other."""
    for name in ("A", "B", "C", "A", "B", "C", "A"):
        write_report(Report(rows=[plain_row(name)]), tmp_path)
    assert names_in(tmp_path) == sorted([*FILES, "report.previous.json", "report.previous-2.json"])
    kept = [models_in(path) for path in tmp_path.glob("report*.json")]
    assert sorted(kept) == [["A"], ["B"], ["C"]]
    assert models_in(tmp_path / "report.json") == ["A"]


def test_a_whole_report_is_kept_when_a_partial_run_writes_over_it(tmp_path):
    write_report(Report(rows=[plain_row(), plain_row(variant="qat")]), tmp_path)
    paths = write_report(Report(rows=[plain_row()]), tmp_path)
    assert tmp_path / "report.previous.json" in paths
    assert len(models_in(tmp_path / "report.previous.json")) == 2


@pytest.mark.parametrize("found", [b"", b"{", b"\xff\xfe", b"[1]", b'{"version": 99, "rows": []}'])
def test_a_file_that_is_no_report_of_ours_is_kept_as_it_is(tmp_path, found):
    (tmp_path / "report.json").write_bytes(found)
    write_report(Report(rows=[plain_row()]), tmp_path)
    assert (tmp_path / "report.previous.json").read_bytes() == found
    assert models_in(tmp_path / "report.json") == ["Net"]


def test_what_cannot_be_written_is_a_line_and_no_error(tmp_path):
    (tmp_path / "report.json").mkdir()
    (line,) = report_written(Report(rows=[plain_row()]), tmp_path)
    assert line.startswith(f"the report was not written, and none is in {tmp_path} now: ")


KILLS = """
import os
import random
import signal
import sys
import time
from pathlib import Path
from pytest_quant.report.files import write_atomically

path, texts = Path(sys.argv[1]), (b"old " * 1_000_000, b"new " * 1_500_000)
path.write_bytes(texts[0])
random.seed(1)
for _ in range(40):
    writer = os.fork()
    if not writer:
        while True:
            for text in texts:
                write_atomically(path, text)
    time.sleep(random.uniform(0, 0.05))
    os.kill(writer, signal.SIGKILL)
    os.waitpid(writer, 0)
    assert path.read_bytes() in texts
"""


def test_a_writer_killed_at_any_moment_leaves_the_old_file_or_the_new(tmp_path):
    subprocess.run([sys.executable, "-c", KILLS, str(tmp_path / "report.json")], check=True)


@pytest.mark.parametrize("step", ["write", "fsync", "chmod", "replace"])
def test_a_failure_at_any_step_leaves_no_report_of_two_runs(tmp_path, monkeypatch, step):
    write_report(Report(rows=[plain_row(notes=["old"])]), tmp_path)
    calls = []

    def fails(*args, **kwargs):
        calls.append(args)
        if len(calls) == 2:
            raise OSError("no space left on device")
        return real(*args, **kwargs)

    if step == "write":
        step = "fdopen"
    real = getattr(os, step)
    monkeypatch.setattr(os, step, fails)
    (line,) = report_written(Report(rows=[plain_row(notes=["new"])]), tmp_path)
    monkeypatch.undo()
    assert (
        line
        == f"the report was not written, and none is in {tmp_path} now: no space left on device"
    )
    assert not any((tmp_path / name).exists() for name in FILES)
    assert len([*report_written(Report(rows=[plain_row(notes=["new"])]), tmp_path)]) == 4
    assert names_in(tmp_path) == FILES


def test_what_a_killed_run_left_is_removed_when_it_is_old(tmp_path):
    left, fresh = tmp_path / ".report.json.abc", tmp_path / ".report.json.def"
    for path in (left, fresh):
        path.write_text("half")
    os.utime(left, (1, 1))
    write_report(Report(rows=[plain_row()]), tmp_path)
    assert names_in(tmp_path) == sorted([*FILES, fresh.name])


RUN = """
import json
import sys
from pathlib import Path
from pytest_quant.report.document import Report
from pytest_quant.report.files import write_report

report = Report(rows=json.loads(sys.argv[2]))
for _ in range(4):
    write_report(report, Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_runs_that_write_into_one_folder_at_the_same_time_lose_nothing(tmp_path):
    rows = [json.dumps([plain_row(name, notes=["note"] * 500)]) for name in ("A", "B", "C")]
    runs = [subprocess.Popen([sys.executable, "-c", RUN, str(tmp_path), given]) for given in rows]
    assert [run.wait() for run in runs] == [0, 0, 0]
    kept = [models_in(path) for path in tmp_path.glob("report*.json")]
    assert sorted(kept) == [["A"], ["B"], ["C"]]
    assert not list(tmp_path.glob(".report*"))


def test_text_is_written_as_it_is(tmp_path):
    text = "ü ✅\r\nline\n"
    path = write_atomically(tmp_path / "a.md", text)
    assert path.read_bytes() == text.encode()


@pytest.mark.parametrize("old", [None, "old"])
def test_when_writing_fails_the_old_file_stays_and_nothing_else(tmp_path, old):
    path = tmp_path / "report.json"
    if old:
        path.write_text(old)
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, UNWRITABLE)
    assert names_in(tmp_path) == (["report.json"] if old else [])
    assert not old or path.read_text() == old


def test_when_renaming_fails_what_is_there_stays_and_nothing_else(tmp_path):
    (tmp_path / "report.json").mkdir()
    with pytest.raises(OSError, match=r"report\.json"):
        write_atomically(tmp_path / "report.json", "text")
    assert names_in(tmp_path) == ["report.json"]
    assert (tmp_path / "report.json").is_dir()


def test_a_reader_that_has_the_old_file_open_reads_the_old_file(tmp_path):
    path = write_atomically(tmp_path / "report.json", "old text")
    with path.open() as reader:
        assert reader.read(3) == "old"
        write_atomically(path, "new")
        assert reader.read() == " text"
    assert path.read_text() == "new"


def test_others_may_read_it(tmp_path):
    path = write_atomically(tmp_path / "report.json", "text")
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_folder_is_made_and_left_empty_by_the_check(tmp_path):
    refuse_unwritable(tmp_path / "new" / "folder")
    assert names_in(tmp_path / "new" / "folder") == []


def test_a_folder_that_cannot_be_is_refused_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match="file"):
            refuse_unwritable(folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused_at_once(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError):
        refuse_unwritable(Path(tmp_path))
