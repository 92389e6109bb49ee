"""Saving a run as a baseline, and comparing later runs with it."""

import json

import pytest
from test_verdicts import PLANTED
from toyrepo import CONFTEST

GATES = """
from pytest_quant import assert_max_accuracy_drop, assert_max_size

def test_static(quant_static):
    assert_max_accuracy_drop(quant_static, 0.9)

def test_dynamic(quant_dynamic):
    assert_max_size(quant_dynamic, ratio=0.9)
"""
PINNED = """
import pytest
from pytest_quant import assert_no_regression

@pytest.mark.ratio([{ratio}])
def test_static(quant_static):
    assert_no_regression(quant_static, "main")
"""


@pytest.fixture
def repo(pytester):
    pytester.makeconftest(CONFTEST + PLANTED)
    pytester.makepyfile(test_gates=GATES)
    return pytester


def run(repo, *arguments):
    return repo.runpytest_inprocess("--quant", "--quant-threads=1", "-p", "no:randomly", *arguments)


def saved(repo, name="main"):
    return json.loads(path(repo, name).read_text())


def path(repo, name="main"):
    return repo.path / "reports" / "baselines" / f"{name}.json"


def recipe(repo, arguments="", gate="quant_variant.size"):
    """A test of a static variant of this recipe, always by the same name."""
    repo.makepyfile(
        test_mine=f"""
        import pytest
        from pytest_quant import Recipe, assert_max_accuracy_drop, assert_no_regression

        MINE = "mine", Recipe("static", {arguments})

        @pytest.mark.ratio([2.0])
        @pytest.mark.parametrize("quant_variant", [MINE], indirect=True)
        def test_mine(quant_variant):
            {gate}
        """
    )


# saving


def test_nothing_changed_is_all_equal(repo):
    result = run(repo, "--quant-save=main")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines([f"baseline main saved: {path(repo)} (3 variants)"])
    result = run(repo, "--quant-compare=main", "--quant-report=out")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        ["model *gates *since main", "* fp32 * =", "* dynamic * =", "* static * ="],
        consecutive=False,
    )
    result.stdout.no_fnmatch_line("*not in main*")
    report = json.loads((repo.path / "out" / "report.json").read_text())
    assert report["since"]["name"] == "main"
    assert report["since"]["remarks"] == []
    assert "since main" in (repo.path / "out" / "report.md").read_text()
    csv = (repo.path / "out" / "report.csv").read_text().splitlines()
    assert csv[0].endswith(",since main")
    assert csv[1].endswith(",'=")  # no formula of a spreadsheet
    assert "since main" in (repo.path / "out" / "report.html").read_text()


def test_a_baseline_holds_what_was_measured_and_no_more(repo):
    run(repo, "--quant-save=main").assert_outcomes(passed=2)
    plain = saved(repo)
    rows = {row["variant"]: row for row in plain["rows"]}
    assert list(rows) == ["fp32", "dynamic", "static"]
    assert rows["dynamic"]["metrics"] == []
    assert rows["dynamic"]["scores"] == {}
    assert rows["dynamic"]["size"]["tensor_bytes"] > 0
    assert rows["static"]["scores"]["top-1"]["form"] == "bits"
    assert rows["static"]["eval_set"]["samples"] == 64
    assert list(plain["eval_sets"]) == [rows["static"]["eval_set"]["fingerprint"]]
    assert not {"notes", "error", "seconds"} & {*rows["static"]}
    assert path(repo).stat().st_size < 8_000
    assert [file.name for file in path(repo).parent.iterdir()] == ["main.json"]


def test_the_same_run_gives_the_same_file(repo):
    run(repo, "--quant-save=one")
    run(repo, "--quant-save=two")
    one, two = saved(repo, "one"), saved(repo, "two")
    assert one | {"name": ""} == two | {"name": ""}


def test_a_baseline_that_is_replaced_says_what_changed(repo):
    recipe(repo)
    run(repo, "--quant-save=main")
    result = run(repo, "--quant-save=main")
    result.stdout.fnmatch_lines(["baseline main saved: *", "nothing changed"])
    recipe(repo, 'keep_fp32=("2",)')
    result = run(repo, "--quant-save=main")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(
        [
            "baseline main saved: *",
            "changes since the baseline that it replaces:",
            "  Sequential mine: size +* %, int8 -* pt",
            "  Sequential mine: recipe changed since main: keep_fp32 * -> *2*",
        ]
    )


def test_another_folder_may_be_told(repo):
    repo.makepyprojecttoml("[tool.pytest]\nquant_baselines = 'kept'\nquant_compare = 'v1'\n")
    run(repo, "--quant-save=v1", "--quant-compare=").assert_outcomes(passed=2)
    assert (repo.path / "kept" / "v1.json").is_file()
    run(repo).stdout.fnmatch_lines(["model * since v1"])


def refuses(repo, *arguments, because, ret=4):
    """The run is not saved; saved all the same when forced."""
    result = run(repo, "--quant-save=main", *arguments)
    assert result.ret == ret
    output = result.stderr if ret == 4 else result.stdout
    output.fnmatch_lines([f"*{because}*--quant-force saves it anyway*"])
    assert not path(repo).exists()
    forced = run(repo, "--quant-save=main", "--quant-force", *arguments)
    forced.stdout.fnmatch_lines(["baseline main saved: *"])
    return forced


@pytest.mark.parametrize(
    "arguments",
    [["-k", "static"], ["--deselect=test_gates.py::test_dynamic"], ["--quant-variants=static"]],
)
def test_a_run_with_deselected_gates_is_refused_before_anything_is_built(repo, arguments):
    forced = refuses(
        repo,
        *arguments,
        because="1 tests of variants were deselected (test_gates.py::test_dynamic)",
    )
    forced.assert_outcomes(passed=1, deselected=1)
    assert [row["variant"] for row in saved(repo)["rows"]] == ["fp32", "static"]


def test_markers_that_leave_gates_out_are_refused(repo):
    result = run(repo, "--quant-save=main", "-m", "not quant")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*2 tests of variants were deselected*"])


def test_tests_of_no_variant_may_be_deselected(repo):
    repo.makepyfile(test_other="def test_of_no_variant(): pass")
    run(repo, "--quant-save=main", "-k", "gates").assert_outcomes(passed=2, deselected=1)
    assert path(repo).exists()


def test_single_tests_and_the_last_failed_are_refused_at_once(repo):
    refuses(
        repo, "test_gates.py::test_static", because="not single tests (test_gates.py::test_static)"
    )
    path(repo).unlink()
    failing = repo.makepyfile(test_failing="def test_it(): assert False")
    run(repo)
    failing.unlink()
    refuses(repo, "--lf", because="not single tests (--last-failed)")


def test_where_nothing_failed_the_last_failed_are_a_whole_run(repo):
    run(repo, "--quant-save=main", "--lf").assert_outcomes(passed=2)
    assert path(repo).exists()


def test_a_file_may_be_named_but_not_lose_what_is_stored(repo):
    (repo.path / "sub").mkdir()
    (repo.path / "sub" / "test_qat.py").write_text("def test_qat(quant_qat): quant_qat.size\n")
    run(repo, "--quant-save=main", "test_gates.py").assert_outcomes(passed=2)
    run(repo, "--quant-save=main").assert_outcomes(passed=3)
    result = run(repo, "--quant-save=main", "test_gates.py")
    result.stdout.fnmatch_lines(
        [
            "baseline main was not saved: it lacks Sequential qat of the baseline that it would replace*"
        ]
    )
    assert result.ret == 1
    assert len(saved(repo)["rows"]) == 4
    (repo.path / "sub" / "test_qat.py").unlink()
    result = run(repo, "--quant-save=main")
    result.stdout.fnmatch_lines(["*in main and not here: Sequential qat"])
    assert len(saved(repo)["rows"]) == 3


def test_collecting_saves_nothing_and_refuses_nothing(repo):
    assert run(repo, "--quant-save=main", "--collect-only").ret == 0
    assert run(repo, "--quant-save=main", "--collect-only", "test_gates.py::test_static").ret == 0
    assert not path(repo).exists()


def test_a_red_run_is_refused(repo):
    repo.makepyfile(test_red="def test_red(): assert False")
    refuses(repo, because="baseline main was not saved: the run is red", ret=1)


def test_a_run_that_stops_early_is_refused(repo):
    repo.makepyfile(test_a="def test_red(): assert False")
    result = run(repo, "--quant-save=main", "-x", "test_a.py", "test_gates.py")
    result.stdout.fnmatch_lines(["baseline main was not saved: nothing was measured"])
    result = run(repo, "--quant-save=main", "-x", "test_gates.py", "test_a.py")
    result.stdout.fnmatch_lines(["baseline main was not saved: the run is red*"])
    assert not path(repo).exists()


def test_an_error_of_a_stage_is_refused(repo):
    repo.makepyfile(
        test_bad="""
        from pytest_quant import Recipe
        import pytest

        @pytest.mark.parametrize("quant_variant", [Recipe("static", keep_fp32=("nothing",))], indirect=True)
        def test_bad(quant_variant): pass
        """
    )
    refuses(
        repo, because="baseline main was not saved: the run is red", ret=1
    ).stdout.fnmatch_lines(
        ["baseline main saved: * (3 variants, not Sequential static(keep_fp32=*)"]
    )


def test_an_interrupted_run_is_refused(repo):
    repo.makepyfile(test_z="def test_z(quant_fp32): raise KeyboardInterrupt")
    result = repo.runpytest_inprocess("--quant", "--quant-save=main", no_reraise_ctrlc=True)
    assert result.ret == 2
    result.stdout.fnmatch_lines(
        ["baseline main was not saved: the run was stopped before its end*"]
    )
    assert not path(repo).exists()


def test_an_undecided_gate_is_refused(repo):
    repo.makepyfile(
        test_speed="""
        import pytest
        from pytest_quant import assert_min_speedup

        @pytest.mark.ratio([1.4, 1.6])
        def test_speed(quant_static): assert_min_speedup(quant_static, 1.5)
        """
    )
    refuses(repo, because="INCONCLUSIVE: Sequential static speed-up", ret=1)


def test_a_run_that_measures_nothing_is_refused_even_by_force(repo):
    repo.makepyfile(test_gates="def test_of_no_variant(): pass")
    result = run(repo, "--quant-save=main", "--quant-force")
    result.stdout.fnmatch_lines(["baseline main was not saved: nothing was measured"])
    assert result.ret == 1
    assert not path(repo).exists()


def test_all_samples_are_scored_for_a_baseline_whatever_early_stopping_would_save(repo):
    conftest = (repo.path / "conftest.py").read_text()
    repo.makeconftest(
        conftest.replace("return batches(1)", "return torch.utils.data.TensorDataset("
                         "*map(torch.cat, zip(*batches(1, 4000))))")
    )  # fmt: skip
    run(repo, "--quant-save=main", "--quant-early-stop").assert_outcomes(passed=2)
    (row,) = (row for row in saved(repo)["rows"] if row["variant"] == "static")
    assert row["eval_set"]["samples"] == row["metrics"][0]["samples"] == 4000


# comparing


def test_another_observer_is_named_and_fails(repo):
    """One sample far outside the others, which a moving average forgets and minmax does not."""
    conftest = (repo.path / "conftest.py").read_text()
    repo.makeconftest(
        conftest.replace(
            "return batches(2)",
            "return [*batches(2), (200 * torch.eye(8)[7:], torch.zeros(1).long())]",
        )
    )
    pinned = "assert_no_regression(quant_variant, 'main')"
    recipe(repo, 'observer="moving_average"', gate=pinned)
    run(repo, "--quant-save=main").assert_outcomes(passed=3)
    recipe(repo, 'observer="minmax"', gate=pinned)
    result = run(repo, "--quant-compare=main")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        [
            "E*accuracy FAIL: mine drops * pt (*",
            "* mine * acc -* pt",
            "Sequential mine: recipe changed since main: observer moving_average -> minmax",
        ]
    )


def test_worse_weights_are_named_in_the_comparison_and_fail(repo):
    repo.makepyfile(test_gates=PINNED.format(ratio=2.0))
    run(repo, "--quant-save=main").assert_outcomes(passed=1)
    run(repo).assert_outcomes(passed=1)
    conftest = (repo.path / "conftest.py").read_text()
    repo.makeconftest(
        conftest.replace("last.bias.zero_()", "last.bias.zero_()\n        last.weight[0] *= -1")
    )
    result = run(repo, "--quant-compare=main")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E*AssertionError: accuracy FAIL: FP32's weights changed since baseline main, and FP32 itself "
            "drops * pt (*; static *",
            "FP32 itself got worse since main, by as much as makes most of it: *",
            "Sequential *fp32 *acc -* pt, other weights",
            "Sequential *static *acc -* pt",
            "FP32's weights changed since main: Sequential",
        ]
    )


def test_a_layer_less_is_named_and_fails_in_size_and_share(repo):
    pinned = "assert_no_regression(quant_variant, 'main', max_drop=0.5)"
    recipe(repo, gate=pinned)
    run(repo, "--quant-save=main").assert_outcomes(passed=3)
    recipe(repo, 'keep_fp32=("2",)', gate=pinned)
    result = run(repo, "--quant-compare=main")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        [
            "E*AssertionError: size FAIL: *",
            "E*int8 share FAIL: *now FP32 too: 2",
            "* mine *size +*, int8 -*",
        ]
    )


def test_a_slower_variant_fails_and_on_another_machine_nothing_is_said(repo):
    repo.makepyfile(test_gates=PINNED.format(ratio=2.0))
    run(repo, "--quant-save=main").assert_outcomes(passed=1)
    repo.makepyfile(test_gates=PINNED.format(ratio=1.5))
    result = run(repo)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E*speed-up FAIL: static is 1.50x*baseline main had 2.00x*"])
    plain = saved(repo)
    plain["environment"]["cpu"] = "another"
    path(repo).write_text(json.dumps(plain))
    result = run(repo)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*speed-up INCONCLUSIVE: *cpu another -> *", "*1 inconclusive*"])
    assert run(repo, "--quant-inconclusive=fail").ret == 1


def test_another_eval_set_is_refused(repo):
    repo.makepyfile(test_gates=PINNED.format(ratio=2.0))
    run(repo, "--quant-save=main").assert_outcomes(passed=1)
    conftest = (repo.path / "conftest.py").read_text()
    repo.makeconftest(conftest.replace("return batches(1)", "return batches(3)"))
    result = run(repo, "--quant-compare=main")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            "E*evaluate ERROR: quant_eval_data is not what baseline main was measured on: 64 samples now*",
            "* static *other eval set*",
            "*accuracy is not compared with main's, since quant_eval_data is another (64 samples, *",
        ]
    )


def test_new_and_removed_variants_are_named(repo):
    run(repo, "--quant-save=main")
    repo.makepyfile(
        test_gates="""
        from pytest_quant import assert_max_size

        def test_qat(quant_qat): assert_max_size(quant_qat, ratio=0.9)
        """
    )
    result = run(repo, "--quant-compare=main")
    result.stdout.fnmatch_lines(
        [
            "* qat * new",
            "not in main: Sequential qat",
            "in main and not here: Sequential dynamic, Sequential static",
        ]
    )


# what is wrong


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--quant-compare=none"], "quant_compare: there is no baseline 'none' in *none at all*"),
        (["--quant-compare=../x"], "quant_compare: '../x' is no name for a baseline*"),
        (["--quant-save=a/b"], "--quant-save: 'a/b' is no name for a baseline*"),
        (["--quant-save="], "--quant-save: '' is no name for a baseline*"),
        (["--quant-force"], "--quant-force has no effect without --quant-save=NAME"),
        (["--quant-save=x", "--quant-baselines=conftest.py"], "quant_baselines: cannot write to *"),
    ],
)
def test_wrong_options_are_usage_errors_before_anything_is_built(repo, arguments, why):
    conftest = (repo.path / "conftest.py").read_text()
    repo.makeconftest(
        conftest.replace("first = torch", "raise AssertionError('built')\n    first = torch")
    )
    result = run(repo, *arguments)
    assert result.ret == 4
    result.stderr.fnmatch_lines([f"*{why}"])


LATER = '{"form": "pytest-quant baseline", "version": 4, "environment": {"pytest_quant": "9.8"}}'


def test_a_later_baseline_is_a_usage_error_and_not_replaced(repo):
    path(repo).parent.mkdir(parents=True)
    path(repo).write_text(LATER)
    result = run(repo, "--quant-compare=main")
    assert result.ret == 4
    result.stderr.fnmatch_lines(
        ["*main.json cannot be used: * version 4, written by pytest-quant 9.8*"]
    )
    result = run(repo, "--quant-save=main")
    result.stdout.fnmatch_lines(["baseline main was not saved: *written by pytest-quant 9.8*"])
    assert path(repo).read_text() == LATER


@pytest.mark.parametrize("text", ["", "{}", '{"form": "pytest-quant baseline", "version": "3"}'])
def test_a_damaged_baseline_is_a_usage_error(repo, text):
    path(repo).parent.mkdir(parents=True)
    path(repo).write_text(text)
    result = run(repo, "--quant-compare=main")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*quant_compare: baseline *main.json cannot be *"])
    result = run(repo, "--quant-save=main")
    result.stdout.fnmatch_lines(
        ["baseline main saved: *", "it replaces a file that could not be read: *"]
    )
    assert run(repo, "--quant-compare=main").ret == 0


def test_a_baseline_missing_for_a_test_is_its_error_and_says_how_to_save_one(repo):
    repo.makepyfile(test_gates=PINNED.format(ratio=2.0))
    result = run(repo)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["E*baseline ERROR: there is no baseline 'main' in *--quant-save=main"]
    )


def test_saving_is_never_switched_on_by_ini(repo):
    repo.makepyprojecttoml("[tool.pytest]\nquant_save = 'main'\nstrict = true\n")
    result = run(repo)
    assert result.ret != 0
    assert not path(repo).exists()
