"""What a run writes, and that a run never fails because of it."""

import json

import pytest
from toyrepo import CONFTEST

GATE = """
from pytest_quant import assert_max_size


def test_dynamic(quant_dynamic):
    assert_max_size(quant_dynamic, ratio=0.9)
"""

WITHOUT_MATPLOTLIB = """

@pytest.hookimpl(tryfirst=True)  # before the report is written
def pytest_sessionfinish():
    import sys
    sys.modules["matplotlib"] = None  # as if it could not be imported; pytester forgets it
"""


@pytest.fixture
def repo(pytester):
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(GATE)
    return pytester


def run(repo, *arguments):
    result = repo.runpytest_inprocess("--quant", "--quant-threads=1", *arguments)
    result.assert_outcomes(passed=1)
    return result


EXPLAINED = """
from pytest_quant import assert_max_size


def test_dynamic(quant_dynamic):
    from pytest_quant.explain.lost.explanation import Explanation
    from pytest_quant.explain.lost.layer import Layer

    first = Layer("0", "Linear", share=0.9, sqnr=12.5, faults=("<so> wide",))
    layers, sqnr = (first, Layer("2", "Linear", share=0.1)), {"whole": 12.0}
    found = Explanation("dynamic", "Net", "", layers, sqnr, 64, 0.1, ("Layer 0 loses it.",))
    quant_dynamic.once("explanation", lambda: found)
    quant_dynamic.fp32.evaluation
    assert_max_size(quant_dynamic, ratio=0.9)


def test_fp32(quant_fp32):
    quant_fp32.evaluation
"""


def test_four_files_that_say_when_they_were_made(repo):
    result = run(repo, "--quant-report=out")
    names = ["report.csv", "report.html", "report.json", "report.md"]
    assert sorted(path.name for path in (repo.path / "out").iterdir()) == names
    result.stdout.fnmatch_lines([f"written: *{name}" for name in ("report.json", "report.html")])
    page = (repo.path / "out" / "report.html").read_text()
    assert "May ship: <strong>yes</strong>" in page
    assert " UTC</span>" in page
    assert page.count("<svg") == 1  # the size; nothing else was measured


def test_without_matplotlib_the_page_has_no_plots_and_says_so(repo):
    repo.makeconftest(CONFTEST + WITHOUT_MATPLOTLIB)
    run(repo, "--quant-report=out")
    page = (repo.path / "out" / "report.html").read_text()
    assert "<svg" not in page
    assert "The plots need matplotlib: pip install &#39;pytest-quant[html]&#39;" in page


def test_the_step_summary_gets_the_markdown_page(repo, monkeypatch):
    path = repo.path / "summary.md"
    path.write_text("# before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    run(repo)
    text = path.read_text()
    assert text.startswith("# before\n\n# Quantization report\n\n**May ship: yes**")


@pytest.mark.parametrize("full", [True, False])
def test_a_step_summary_that_cannot_be_written_is_a_line(repo, monkeypatch, full):
    path = repo.path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    if full:
        path.write_bytes(b"x" * 1024 * 1024)
    else:
        path.mkdir()
    result = run(repo)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["the step summary was not written: *"])


def test_a_folder_that_is_lost_during_the_run_is_a_line(repo):
    repo.makepyfile(
        """
        import pathlib
        import shutil

        def test_dynamic(quant_dynamic, request):
            folder = request.config.rootpath / "out"
            shutil.rmtree(folder)
            folder.write_text("")
        """
    )
    result = run(repo, "--quant-report=out")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["the report was not written, and none is in *"])


def test_a_run_of_another_part_keeps_the_report_that_is_there(repo):
    run(repo, "--quant-report=out")
    repo.makepyfile(GATE.replace("dynamic", "static"))
    result = run(repo, "--quant-report=out")
    result.stdout.fnmatch_lines(["kept, with other variants: *report.previous.json"])


@pytest.mark.parametrize("workers", [[], ["-n2", "-p", "xdist"]], ids=["alone", "workers"])
def test_what_was_found_out_reaches_the_terminal_and_all_files(repo, workers):
    repo.makepyfile(EXPLAINED)
    result = repo.runpytest_inprocess(
        "--quant", "--quant-threads=1", "--quant-report=out", *workers
    )
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines([
        "Sequential dynamic: where it is lost", "  Layer 0 loses it.", "  0 *Linear *90 % *12.5  <so> wide",
        "Sequential: No kind can be recommended, since no accuracy was measured.*",
    ])  # fmt: skip
    rows = json.loads((repo.path / "out" / "report.json").read_text())["rows"]
    assert [row["variant"] for row in rows] == ["fp32", "dynamic"]
    assert rows[0]["work"]["linear"] == 1.0
    assert [layer["share"] for layer in rows[1]["explanation"]["layers"]] == [0.9, 0.1]
    page = (repo.path / "out" / "report.html").read_text()
    assert "<h2>Where it is lost</h2>" in page
    assert "&lt;so&gt; wide" in page
    assert "## Which kind to choose" in (repo.path / "out" / "report.md").read_text()


def test_folders_are_of_the_current_folder_on_the_command_line_and_of_rootdir_in_ini(
    pytester, monkeypatch
):
    pytester.makeconftest(CONFTEST)
    below = pytester.mkdir("below")
    (below / "test_size.py").write_text(GATE)
    monkeypatch.chdir(below)
    both = ("--quant-report=here", "--quant-baselines=kept")
    for typed, ini, place, workers in ((both, "", below, 1), ((), INI, pytester.path, 0)):
        pytester.makeini(f"[pytest]\nquant = true\n{ini}")
        pytester.runpytest("--quant-save=main", *typed).assert_outcomes(passed=1)
        assert (place / "here" / "report.json").is_file()
        assert (place / "kept" / "main.json").is_file()
        result = pytester.runpytest(f"-n{workers}", "--quant-compare=main", *typed)
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(["* since main", "Sequential *dynamic* ="])
    assert not (below / "reports").exists()
    assert not (pytester.path / "reports").exists()


INI = "quant_report = here\nquant_baselines = kept\n"


def test_a_folder_of_the_home_folder_is_there(pytester, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_size=GATE)
    pytester.runpytest("--quant", "--quant-report=~/here").assert_outcomes(passed=1)
    assert (tmp_path / "here" / "report.json").is_file()
