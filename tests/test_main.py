"""`python -m pytest_quant`: saved reports and baselines shown, compared and merged without pytest."""

import json
import subprocess
import sys

import pytest
from builders import measured_rows, metric_cells, plain_row, plain_verdict

from pytest_quant.__main__ import main
from pytest_quant.baseline.baseline import Baseline
from pytest_quant.report.baselines import Gathered
from pytest_quant.report.document import Report
from pytest_quant.variant.measurements import Size

ENVIRONMENT = {
    "pytest_quant": "0.1.0", "torch": "2.15.0", "engine": "x86", "threads": 1, "cpu": "CPU", "isa": "AVX2",
    "vnni": False, "cores": 2, "system": "Linux", "workers": 1,
}  # fmt: skip


def report_of(*rows, verdicts=(), tests=(), **environment):
    return Report(ENVIRONMENT | environment, [*rows], [*verdicts], tests=[*tests])


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    """In which no table is broken up and no sentence wraps."""
    monkeypatch.setenv("COLUMNS", "500")


@pytest.fixture
def write(tmp_path):
    """Write a report, a baseline or a text to a file, and give its path."""

    def write(name, content):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content if isinstance(content, str) else content.to_json())
        return str(path)

    return write


def test_show_prints_what_the_run_printed(write, capsys):
    rows = measured_rows()
    path = write("r.json", report_of(*rows, verdicts=[plain_verdict(rows[1])]))
    assert main(["show", path]) == 0
    out = capsys.readouterr().out
    assert out.startswith("torch 2.15.0, engine x86, 1 thread, CPU, AVX2, no VNNI\nmodel")
    assert "1 PASS" in out
    assert "may ship: " in out


@pytest.mark.parametrize(
    ("format", "start"),
    [("table", "torch"), ("markdown", "# "), ("html", "<!DOCTYPE"), ("json", "{")],
)
def test_each_format_goes_to_the_terminal_or_to_a_file(write, capsys, tmp_path, format, start):
    path, output = write("r.json", report_of(*measured_rows())), tmp_path / "out.txt"
    assert main(["show", path, "--format", format]) == 0
    shown = capsys.readouterr().out
    assert shown.lstrip().startswith(start)
    assert main(["show", path, "--format", format, "--output", str(output)]) == 0
    assert output.read_text() == shown
    assert capsys.readouterr().out == f"written: {output}\n"


@pytest.mark.parametrize(
    ("suffix", "start"), [("md", "# "), ("html", "<!DOCTYPE"), ("json", "{"), ("txt", "to")]
)
def test_without_a_format_the_suffix_of_the_file_decides(write, tmp_path, suffix, start):
    output = tmp_path / f"out.{suffix}"
    main(["show", write("r.json", report_of(*measured_rows())), "--output", str(output)])
    assert output.read_text().lstrip().startswith(start)


def test_a_baseline_is_shown_and_compared_like_a_report(write, capsys):
    report = report_of(*measured_rows())
    kept = Gathered().baseline("v1", report)
    a, b = write("a.json", kept), write("b.json", report)
    assert main(["show", a]) == 0
    assert "94.00 %" in capsys.readouterr().out
    for before, after in ((a, b), (b, a), (a, a)):
        assert main(["compare", before, after, "--fail-on-change"]) == 0
    assert "since v1" in capsys.readouterr().out


def changed_report():
    rows = measured_rows()
    rows[1]["metrics"] = [metric_cells(value=0.9363)]
    rows[1]["size"]["tensor_bytes"] = 1_265_000
    return report_of(*rows, plain_row(variant="own", size={"tensor_bytes": 1, "file_bytes": None}))


def test_compare_shows_what_changed_and_fails_only_when_asked(write, capsys):
    before, after = (
        write("old.json", report_of(*measured_rows())),
        write("new.json", changed_report()),
    )
    assert main(["compare", before, after]) == 0
    out = capsys.readouterr().out
    assert "since old" in out
    assert "acc -0.37 pt, size +1.2 %" in out
    assert "not in old: Net own" in out
    assert main(["compare", before, after, "--fail-on-change"]) == 1
    assert main(["compare", before, before, "--fail-on-change"]) == 0


def test_a_report_that_has_no_name_of_its_own_is_called_by_its_folder(write, capsys):
    before = write("main/report.json", report_of(*measured_rows()))
    main(["compare", before, before])
    assert "since main" in capsys.readouterr().out


def test_a_folder_stands_for_its_report(write, capsys, tmp_path):
    write("main/report.json", report_of(*measured_rows()))
    folder = str(tmp_path / "main")
    assert main(["compare", folder, folder]) == 0
    assert "since main" in capsys.readouterr().out
    assert main(["show", str(tmp_path)]) == 2
    assert "report.json cannot be read" in capsys.readouterr().err


def test_compare_gives_its_changes_as_json(write, capsys):
    before, after = (
        write("old.json", report_of(*measured_rows())),
        write("new.json", changed_report()),
    )
    main(["compare", before, after, "--format=json"])
    changes = {c["variant"]: c for c in json.loads(capsys.readouterr().out)["since"]["changes"]}
    assert changes["static"]["size"] == [1_250_000, 1_265_000]
    assert changes["own"]["status"] == "new"


def test_merge_joins_the_rows_of_a_variant_and_keeps_all_verdicts_and_tests(write, capsys):
    size = {"tensor_bytes": 100, "file_bytes": None}
    one, other = plain_row(size=size), plain_row(metrics=[metric_cells(value=0.9)])
    parts = [
        write(f"{index}.json", report_of(
            row, plain_row(f"Own{index}", size=size),
            verdicts=[plain_verdict(row, test=f"t{index}")],
            tests=[{"nodeid": f"t{index}", "outcome": "passed", "variants": [], "reason": None}],
        ))
        for index, row in enumerate((one, other))
    ]  # fmt: skip
    assert main(["merge", *parts, "--format=json"]) == 0
    merged = Report.from_json(capsys.readouterr().out)
    assert [(row.model, row.variant) for row in merged.rows] == [
        ("Net", "static"), ("Own0", "static"), ("Own1", "static"),
    ]  # fmt: skip
    (row, *_) = merged.rows
    assert row.size == Size(**size)
    assert row.metrics[0].value == 0.9
    assert [verdict["test"] for verdict in merged.verdicts] == ["t0", "t1"]
    assert [test["nodeid"] for test in merged.tests] == ["t0", "t1"]
    assert merged.notes == []


def test_merge_notes_environments_that_differ_and_shards_that_were_stopped(write, capsys):
    first = write("a.json", report_of(plain_row("A")))
    other = report_of(plain_row("B"), cpu="other", threads=2)
    other.interrupted = True
    main(["merge", first, write("b.json", other)])
    out = capsys.readouterr().out
    assert "b.json (B) is of another environment: cpu CPU -> other, threads 1 -> 2" in out
    assert "interrupted" in out
    assert out.startswith("torch 2.15.0, engine x86, 1 thread, CPU")


def test_merging_one_report_gives_that_report(write, capsys):
    report = report_of(*measured_rows())
    main(["merge", write("a.json", report), "--format=json"])
    assert Report.from_json(capsys.readouterr().out) == report


NEWER = json.dumps(
    {"version": 99, "environment": {}, "rows": [], "verdicts": [], "interrupted": False}
)
BASELINE = json.dumps({"form": "pytest-quant baseline", "version": 99})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is not JSON"),
        ("[1, 2]", "no report"),
        ('{"a": 1}', "no report"),
        (NEWER, "version 99"),
        (
            BASELINE,
            "of version 99, written by a later pytest-quant, and this pytest-quant reads up to 3",
        ),
        (
            '{"version": 1, "environment": {}, "rows": [3], "verdicts": [], "interrupted": false}',
            "damaged",
        ),
        ("\ud800".encode("utf-8", "surrogatepass"), "cannot be read"),
    ],
)
@pytest.mark.parametrize("command", ["show", "compare", "merge"])
def test_a_damaged_foreign_or_newer_file_is_one_sentence_and_exit_2(
    tmp_path, write, capsys, command, text, why
):
    path = tmp_path / "bad.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    files = [str(path)] if command == "show" else [write("good.json", report_of()), str(path)]
    assert main([command, *files]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"pytest-quant: {path}")
    assert why in err
    assert err.count("\n") == 1


def test_a_missing_file_or_folder_is_one_sentence_too(tmp_path, write, capsys):
    assert main(["show", str(tmp_path / "none.json")]) == 2
    assert "none.json cannot be read" in capsys.readouterr().err
    path = write("r.json", report_of())
    assert main(["show", path, "--output", f"{path}/x/y.md"]) == 2
    assert capsys.readouterr().err.startswith("pytest-quant: ")


def test_baselines_are_not_merged(write, capsys):
    path = write("b.json", Baseline("v1", {}, (), {}, {}))
    assert main(["merge", path]) == 2
    assert "merge takes reports" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["draw"], ["show"], ["show", "a", "--format=pdf"]])
def test_wrong_arguments_are_argparses_to_refuse(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage: python -m pytest_quant" in capsys.readouterr().err


def test_it_runs_as_a_module_and_loads_no_torch(write):
    path = write("r.json", report_of(*measured_rows()))
    commands = [
        ["show", path],
        ["compare", path, path],
        ["merge", path],
        ["show", path, "--format=html"],
    ]
    code = (
        "import sys; from pytest_quant.__main__ import main; "
        f"print([main(each) for each in {commands!r}], 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[0, 0, 0, 0] False"
    done = subprocess.run(
        [sys.executable, "-m", "pytest_quant", "show", path],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "3.20x" in done.stdout
