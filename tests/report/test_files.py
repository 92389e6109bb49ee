"""Files: written whole or not at all, and nothing else left in the folder."""

import json
import os
from pathlib import Path

import pandas as pd
import pytest
from builders import measured_rows, plain_row

from pytest_quant.report.document import Report
from pytest_quant.report.files import refuse_unwritable, write_atomically, write_report

UNWRITABLE = "half of it \ud800"  # a lone surrogate has no UTF-8


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_report_is_three_files(tmp_path):
    paths = write_report(Report(rows=measured_rows()), tmp_path / "deep" / "reports")
    assert names_in(tmp_path / "deep" / "reports") == ["report.csv", "report.json", "report.md"]
    assert sorted(path.name for path in paths) == ["report.csv", "report.json", "report.md"]
    folder = tmp_path / "deep" / "reports"
    assert json.loads((folder / "report.json").read_text())["rows"] == measured_rows()
    assert (folder / "report.md").read_text(encoding="utf-8").startswith("# Quantization report")
    read = pd.read_csv(folder / "report.csv")
    assert read["variant"].tolist() == ["fp32", "static"]
    assert read["times_smaller"].tolist() == [1.0, 3.2]


def test_a_later_report_replaces_an_earlier_one(tmp_path):
    for name in ("First", "Second"):
        write_report(Report(rows=[plain_row(name)]), tmp_path)
    assert "First" not in "".join(path.read_text() for path in tmp_path.iterdir())
    assert len(names_in(tmp_path)) == 3


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
