"""--quant-export=DIR: the files of what may ship, and of nothing else."""

import hashlib
import json

import pytest
from exported import CONFTEST, made_int8

from pytest_quant.plugin.exports import Exports

RECIPES = """

@pytest.fixture(scope="session")
def quant_calibration_data():
    return exported.images(2)


def pytest_quant_recipes(config):
    from pytest_quant import Recipe

    return {name: Recipe("artefact", path=f"build/{name}.onnx") for name in ("one", "two")}
"""
TESTS = """
import pytest
from pytest_quant import assert_max_accuracy_drop, assert_max_size

of = lambda *names: pytest.mark.parametrize("quant_variant", names, indirect=True)


@of("one", "two")
def test_accuracy(quant_variant):
    assert_max_accuracy_drop(quant_variant, 0.1)


@of("one")
def test_size(quant_variant):
    assert_max_size(quant_variant, mb=MB)
"""
OURS = ("--quant", "--quant-threads=1", "-p", "no:cacheprovider", "--quant-export=dist")


@pytest.fixture
def repo(pytester, monkeypatch):
    """Of a CNN with two int8 files."""
    monkeypatch.setenv("COLUMNS", "500")
    pytester.makeconftest(CONFTEST + RECIPES)
    pytester.makepyfile(test_ships=TESTS.replace("MB", "1"))
    pytester.makeini("[pytest]\n")
    pytester.mkdir("build")
    made_int8(pytester.path / "build", "one.onnx")
    made_int8(pytester.path / "build", "two.onnx", quantized={"per_channel": False})
    return pytester


def exported(repo):
    return sorted(
        str(path.relative_to(repo.path / "dist"))
        for path in (repo.path / "dist").rglob("*")
        if path.is_file()
    )


BOTH = [
    f"Cnn-{name}/{file}" for name in ("one", "two") for file in ("model.onnx", "model.onnx.json")
]


def page_of(repo, name):
    return json.loads((repo.path / "dist" / f"Cnn-{name}" / "model.onnx.json").read_text())


def test_what_may_ship_is_written_with_all_its_verdicts(repo):
    result = repo.runpytest_inprocess(*OURS)
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["may ship: yes*", "exported: Cnn one: model.onnx in *Cnn-one"])
    assert exported(repo) == BOTH
    page = page_of(repo, "one")
    judged = (repo.path / "build" / "one.onnx").read_bytes()
    assert page["files"] == {"model.onnx": hashlib.sha256(judged).hexdigest()}
    assert [verdict["gate"] for verdict in page["verdicts"]] == ["max_accuracy_drop", "max_size_mb"]
    assert page["eval_samples"] == 96


def test_red_leaves_nothing_of_an_earlier_green_run(repo):
    repo.runpytest_inprocess(*OURS).assert_outcomes(passed=3)
    repo.makepyfile(test_ships=TESTS.replace("MB", "0.001"))
    result = repo.runpytest_inprocess(*OURS)
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        ["not exported: Cnn one, since its model may not ship", "not exported: Cnn two, *"]
    )
    assert exported(repo) == []


def test_a_part_of_the_tests_exports_nothing(repo):
    result = repo.runpytest_inprocess(*OURS, "-k", "accuracy")
    result.assert_outcomes(passed=2, deselected=1)
    result.stdout.fnmatch_lines(["may ship: undecided*"])
    assert exported(repo) == []


def test_a_run_that_judges_nothing_keeps_what_is_there(repo):
    repo.runpytest_inprocess(*OURS).assert_outcomes(passed=3)
    repo.makepyfile(test_ships="def test_other(): pass")
    repo.runpytest_inprocess(*OURS).assert_outcomes(passed=1)
    assert exported(repo) == BOTH


def test_files_of_others_stay(repo):
    (repo.path / "dist" / "notes").mkdir(parents=True)
    (repo.path / "dist" / "notes" / "model.card.json").write_text('{"form": "a card"}')
    (repo.path / "dist" / "model.onnx").write_bytes(b"mine")
    repo.runpytest_inprocess(*OURS).assert_outcomes(passed=3)
    assert exported(repo) == [*BOTH, "model.onnx", "notes/model.card.json"]


def test_a_folder_or_file_of_the_users_stays_where_an_export_would_go(repo):
    (repo.path / "dist" / "Cnn-one").mkdir(parents=True)
    (repo.path / "dist" / "Cnn-one" / "thesis.tex").write_text("mine")
    (repo.path / "dist" / "cnn-two").write_text("mine too")
    for _ in range(2):
        result = repo.runpytest_inprocess(*OURS)
        result.assert_outcomes(passed=3)
        result.stdout.fnmatch_lines(["exported: Cnn one: model.onnx in *Cnn-one-2"])
        files = [name.replace("Cnn-one", "Cnn-one-2").replace("two", "two-2") for name in BOTH]
        assert exported(repo) == sorted(["Cnn-one/thesis.tex", *files, "cnn-two"])


def test_a_name_that_is_too_long_for_a_folder_is_cut(repo):
    name = "one" + 300 * "e"
    (repo.path / "build" / "one.onnx").rename(repo.path / "build" / f"{name[:200]}.onnx")
    repo.makeconftest(
        CONFTEST
        + RECIPES.replace(
            'for name in ("one", "two")', f'for name in ("two",)}} | {{"{name}": Recipe("artefact", '
            f'path="build/{name[:200]}.onnx")'
        )
    )  # fmt: skip
    repo.makepyfile(test_ships=TESTS.replace("MB", "1").replace('"one"', f'"{name}"'))
    repo.runpytest_inprocess(*OURS).assert_outcomes(passed=3)
    folders = sorted(each.name for each in (repo.path / "dist").iterdir())
    assert [len(each) for each in folders] == [200, len("Cnn-two")]


def test_a_variant_without_a_gate_is_not_exported(repo):
    (repo.path / "test_ships.py").write_text(
        TESTS.replace("MB", "1").replace('@of("one", "two")', '@of("one")')
        + '\n\n@of("two")\ndef test_runs(quant_variant):\n    quant_variant.evaluation\n'
    )
    result = repo.runpytest_inprocess(*OURS)
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["not exported: Cnn two, since no gate has judged it"])
    assert exported(repo) == BOTH[:2]


def test_a_pytorch_module_says_what_builds_a_file(repo):
    repo.makepyfile(
        test_ships="""
from pytest_quant import assert_max_accuracy_drop


def test_static(quant_static):
    assert_max_accuracy_drop(quant_static, 0.2)
"""
    )
    result = repo.runpytest_inprocess(*OURS)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["not exported: Cnn static: *build a file by flow='onnx'*"])
    assert exported(repo) == []


@pytest.mark.slow
def test_flow_pt2e_ships_as_a_package(repo):
    repo.makepyfile(
        test_ships="""
import pytest
from pytest_quant import Recipe, assert_max_accuracy_drop


@pytest.mark.parametrize("quant_variant", [Recipe("static", flow="pt2e")], indirect=True)
def test_static(quant_variant):
    assert_max_accuracy_drop(quant_variant, 0.2)
"""
    )
    result = repo.runpytest_inprocess(*OURS)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["exported: Cnn static*: model.pt2 in *"])
    package, page = exported(repo)
    assert package.endswith("/model.pt2")
    assert page == f"{package}.json"


def test_other_bits_in_production_end_in_an_error(repo, monkeypatch):
    from pytest_quant.runtimes import onnx_runtime

    more = onnx_runtime.PRODUCTION + "outputs = [each + 1e-6 for each in outputs]\n"
    monkeypatch.setattr(onnx_runtime, "PRODUCTION", more)
    result = repo.runpytest_inprocess(*OURS)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["ERROR: Cnn one may ship and was not exported: *other bits*"])
    assert exported(repo) == []


def test_on_workers_too(repo):
    pytest.importorskip("xdist")
    result = repo.runpytest_inprocess(*OURS, "-n", "2")
    result.assert_outcomes(passed=3)
    assert exported(repo) == BOTH
    assert len(page_of(repo, "one")["verdicts"]) == 2


def test_a_folder_that_cannot_be_written_to_is_a_usage_error(repo):
    (repo.path / "dist").write_text("a file")
    result = repo.runpytest_inprocess(*OURS)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*quant_export: cannot write to *dist*"])


def test_two_runs_at_a_time_do_not_share_a_folder(repo):
    other = Exports(repo.path / "dist", "other")
    release = other.hold()
    result = repo.runpytest_inprocess(*OURS)
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*another run exports to *dist at the moment*--quant-export=DIR*"])
    release()
    assert "exported" in repo.runpytest_inprocess(*OURS).stdout.str()
    other.hold()()  # a run that has ended holds nothing


def test_what_a_killed_run_has_left_never_comes_back(repo):
    repo.runpytest_inprocess(*OURS).assert_outcomes(passed=3)
    (repo.path / "dist" / ".before").mkdir()
    (repo.path / "dist" / "Cnn-one").rename(repo.path / "dist" / ".before" / "Cnn-one")
    half = repo.path / "dist" / ".judging" / "run-0"
    half.mkdir(parents=True)
    key = {"where": "", "model": "Cnn", "variant": "two"}
    (half / "key.json").write_text(json.dumps({"key": key, "error": "killed"}))
    repo.makepyfile(test_ships="def test_other(): pass")
    repo.runpytest_inprocess(*OURS).assert_outcomes(passed=1)
    assert exported(repo) == BOTH[2:]
    repo.makepyfile(test_ships=TESTS.replace("MB", "1"))
    repo.runpytest_inprocess(*OURS).assert_outcomes(passed=3)
    assert exported(repo) == BOTH
