"""No "yes" on a part of the tests: what was left out, skipped or stated for nothing is told everywhere."""

import json

import pytest
from toyrepo import CONFTEST, THREE_TESTS

BY_NAME = """
import pytest
from pytest_quant import assert_max_size


@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_by_name(request, kind):
    assert_max_size(request.getfixturevalue(f"quant_{kind}"), ratio=0.9)
"""


@pytest.fixture
def repo(pytester):
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_gates=THREE_TESTS)
    return pytester


def answer(repo, *arguments):
    """The answer and what stands in its line after it; the files say the same."""
    result = repo.runpytest_inprocess(
        "--quant", "--no-quant-cache", "--quant-report=out", *arguments
    )
    line = next(line for line in result.outlines if line.startswith("may ship: "))
    ship = json.loads((repo.path / "out" / "report.json").read_text())["may_ship"]
    _, word, rest = line.split(": ", 2)
    assert ship["answer"] == word
    page = (repo.path / "out" / "report.html").read_text()
    markdown = (repo.path / "out" / "report.md").read_text()
    for text in ship["remarks"]:
        assert text.split(" (")[0] in line
        assert text.split("::")[0].split("[")[0].split(" (")[0] in page
        assert text.split("_")[0] in markdown
    return word, rest


def test_a_whole_run_says_yes_and_no_more(repo):
    assert answer(repo) == ("yes", "Sequential: all 2 gates hold (dynamic)")


@pytest.mark.parametrize(
    "part", [("-k", "size"), ("--deselect", "test_gates.py::test_accuracy"), ("-m", "not slow")]
)
def test_a_gate_that_was_deselected_leaves_it_undecided(repo, part):
    if part[0] == "-m":
        repo.makepyfile(
            test_gates=THREE_TESTS.replace("def test_acc", "@pytest.mark.slow\ndef test_acc")
        )
    word, rest = answer(repo, *part)
    assert word == "undecided"
    assert "1 test of variants deselected: test_gates.py::test_accuracy" in rest


def test_to_deselect_tests_of_no_variant_leaves_nothing_out(repo):
    assert answer(repo, "-m", "quant")[0] == "yes"
    assert answer(repo, "-k", "not no_variant")[0] == "yes"
    assert answer(repo, "--quant-variants=dynamic")[0] == "yes"


def test_single_tests_leave_it_undecided(repo):
    word, rest = answer(repo, "test_gates.py::test_size")
    assert word == "undecided"
    assert "only single tests were selected: test_gates.py::test_size" in rest


def test_the_last_failed_leave_it_undecided_where_some_did(repo):
    assert answer(repo, "--lf")[0] == "yes"  # nothing did, so pytest runs all
    repo.makepyfile(test_gates=THREE_TESTS.replace("ratio=", "ratio=0.01 * "))
    assert answer(repo)[0] == "no"
    repo.makepyfile(test_gates=THREE_TESTS)
    word, rest = answer(repo, "--lf")
    assert word == "undecided"
    assert "only single tests were selected: --last-failed" in rest
    assert answer(repo, "--lf")[0] == "yes"


def test_folders_and_files_are_told(repo):
    repo.makepyfile(test_other="def test_it():\n    pass\n")
    part = "; the run was limited to a part of the repo: "
    assert answer(repo, "test_gates.py")[1].endswith(f"{part}test_gates.py")
    assert answer(repo, "--ignore=test_other.py")[1].endswith(f"{part}--ignore=test_other.py")
    assert "limited" not in answer(repo, ".")[1]


def test_what_was_skipped_is_told_with_its_reason(repo):
    repo.makepyfile(test_vit="import pytest\n\npytest.importorskip('no_such_library')\n")
    repo.makepyfile(
        test_skip="import pytest\n\n@pytest.mark.skip('no card')\ndef test_it(quant_qat): pass"
    )
    word, rest = answer(repo)
    assert word == "yes"
    assert "2 skipped: test_vit.py (could not import 'no_such_library'" in rest
    assert "test_skip.py::test_it (no card)" in rest


@pytest.mark.parametrize("place", ["ini", "marker", "command line"])
def test_a_limit_that_no_gate_judged_leaves_it_undecided(repo, place):
    arguments = ()
    if place == "ini":
        repo.makeini("[pytest]\nquant_max_flips = 0.5\n")
    elif place == "marker":
        mark = "pytestmark = pytest.mark.quant(max_flips=0.5)\n"
        repo.makepyfile(test_gates=THREE_TESTS + mark)
    else:
        arguments = ("--quant-max-flips=0.5",)
    word, rest = answer(repo, *arguments)
    assert word == "undecided"
    assert "Sequential: no gate judged max_flips=0.5" in rest
    own = (
        THREE_TESTS
        + "def test_all(quant_dynamic):\n    assert_gates(quant_dynamic, max_flips=0.5)\n"
    )
    repo.makepyfile(test_gates=own + (mark if place == "marker" else ""))
    assert answer(repo, *arguments)[0] == "yes"


def test_a_failed_test_of_no_variant_is_named_and_leaves_the_answer(repo):
    repo.makepyfile(test_other="def test_it(tmp_path):\n    assert False\n")
    word, rest = answer(repo)
    assert word == "yes"
    assert rest.endswith("; 1 failed test that used no variant: test_other.py::test_it")


@pytest.mark.parametrize("broken", ["a fixture of the test's own", "an input"])
def test_a_variant_asked_for_by_name_that_cannot_be_set_up_is_a_no(repo, broken):
    text = BY_NAME.replace("test_by_name(request", "test_by_name(dataset, request")
    own = "\n@pytest.fixture\ndef dataset():\n    raise OSError('no share')\n"
    if broken == "an input":
        text = BY_NAME
        own = own.replace("fixture", "fixture(scope='session')").replace(
            "dataset", "quant_calibration_data"
        )
    repo.makepyfile(test_name=text + own)
    word, rest = answer(repo)
    assert word == "no"
    assert "test_name.py::test_by_name[static] " in rest


def test_tests_that_ask_by_name_are_among_those_of_the_marker(repo):
    repo.makepyfile(test_name=BY_NAME)
    repo.runpytest_inprocess("--quant", "-m", "quant").assert_outcomes(passed=4, deselected=1)
    word, rest = answer(repo, "-k", "gates")
    assert word == "undecided"
    assert "2 tests of variants deselected: test_name.py::test_by_name[dynamic]" in rest


def test_variants_of_a_store_of_ones_own_are_reported_like_a_fixtures(repo):
    repo.makepyfile(
        test_served="""
        import pytest
        from conftest import batches
        from pytest_quant import Conditions, Recipe, Subject, assert_max_size, open_store

        @pytest.fixture(scope="module")
        def served(quant_model):
            subject = Subject(quant_model, eval_data=batches(1), name="served")
            return open_store(Conditions()).variant(subject, Recipe("dynamic"))

        def test_size(served):
            assert_max_size(served, ratio=0.9)
        """
    )
    word, rest = answer(repo)
    assert (word, "served: its one gate holds (dynamic)" in rest) == ("yes", True)
    served = (
        repo.path / "test_served.py"
    ).read_text() + "\ndef test_runs(served):\n    raise KeyError\n"
    repo.makepyfile(test_served=served)
    word, rest = answer(repo)
    assert word == "no"
    assert "served: test_served.py::test_runs failed" in rest


@pytest.mark.slow
def test_with_workers_all_of_it_is_told_as_well(repo):
    repo.makepyfile(test_vit="import pytest\n\npytest.importorskip('no_such_library')\n")
    word, rest = answer(repo, "-n", "2", "-k", "size")
    assert word == "undecided"
    assert "1 test of variants deselected: test_gates.py::test_accuracy" in rest
    assert "1 skipped: test_vit.py" in rest


def test_what_one_part_left_out_and_another_ran_is_whole_when_they_are_merged(repo):
    for name, part in (("a", "size"), ("b", "not size")):
        repo.runpytest_inprocess("--quant", f"--quant-report={name}", "-k", part)
    from pytest_quant.__main__ import main

    files = [str(repo.path / name / "report.json") for name in "ab"]
    out = repo.path / "whole.json"
    assert main(["merge", *files, "--output", str(out)]) == 0
    assert json.loads(out.read_text())["may_ship"]["answer"] == "yes"
    assert main(["merge", files[0], "--output", str(out)]) == 0
    assert json.loads(out.read_text())["may_ship"]["answer"] == "undecided"


LOST = {
    "test_lost(quant_statik)": "quant_statik, which it cannot have; did you mean quant_static?",
    "test_lost(quantqat)": "quantqat, which it cannot have; did you mean quant_qat?",
    "test_lost(small_model)": "small_model, which it cannot have",
    "test_lost(request, name='quant_dynamc')": (
        "quant_dynamc, which it cannot have; did you mean quant_dynamic?"
    ),
}


@pytest.mark.parametrize("signature", LOST)
@pytest.mark.parametrize("arguments", [(), ("--tb=no",), ("-n", "1")])
def test_a_test_whose_fixture_there_is_not_might_have_judged_and_is_a_no(
    repo, signature, arguments
):
    body = "request.getfixturevalue(name)" if "request" in signature else "pass"
    repo.makepyfile(test_gates=f"{THREE_TESTS}\n\ndef {signature}:\n    {body}\n")
    word, rest = answer(repo, *arguments)
    assert word == "no"
    assert "test_gates.py::test_lost" in rest
    assert LOST[signature] in rest
    assert ("did you mean" in rest) == ("did you mean" in LOST[signature])
