"""What a failed gate proposes is pasted as it stands, into the file that it names, and runs."""

import re

import pytest
from toyrepo import CONFTEST

UNEQUAL = """

@pytest.fixture(scope="session")
def quant_eval_data(quant_model):
    with torch.no_grad():  # one channel is a hundred times as large as the others
        quant_model[0].weight[0] *= 100
        quant_model[2].weight[:, 0] /= 100
    return batches(1, 256)
"""
HOOK = """

def pytest_quant_recipes(config):
    from pytest_quant import Recipe

    return {"ours": Recipe("static", observer="minmax"), "other": Recipe("dynamic")}
"""
STATIC = """
from pytest_quant import assert_max_accuracy_drop


def test_drop(quant_static):
    assert_max_accuracy_drop(quant_static, 0.05)
"""
NAMED = """
import pytest
from pytest_quant import assert_max_accuracy_drop, assert_max_size


@pytest.mark.parametrize("quant_variant", ["ours"], indirect=True)
def test_drop(quant_variant):
    assert_max_accuracy_drop(quant_variant, 0.05)


@pytest.mark.parametrize("quant_variant", ["other"], indirect=True)
def test_other(quant_variant):
    assert quant_variant.recipe.kind == "dynamic"
"""
STATED = """
import pytest
from pytest_quant import Recipe, assert_max_accuracy_drop

RECIPE = Recipe("static", observer="minmax")


@pytest.mark.parametrize("quant_variant", [RECIPE], indirect=True)
def test_drop(quant_variant):
    assert_max_accuracy_drop(quant_variant, 0.05)
"""
BLOCK = re.compile(r"^# To paste into (\S+): .*\n(?:(?![=_-]{4}).*\n)+", re.MULTILINE)


def paste(repo, result):
    """Write what an output proposes where it says so; the files."""
    found = {match[1]: match[0] for match in BLOCK.finditer(result.stdout.str() + "\n")}
    for name, code in found.items():
        file = repo.path / name
        before = file.read_text() if file.exists() else ""
        file.write_text(f"{before}\n\n{code}")
    return [*found]


def run(repo, *options):
    return repo.runpytest_inprocess("--quant", "--quant-mend-seconds=60", *options)


@pytest.fixture
def repo(pytester):
    pytester.makeconftest(CONFTEST + UNEQUAL)
    return pytester


CASES = {
    # the test's file, more of its conftest.py, where it goes, and what then passes and fails
    "a fixture": (STATIC, "", "conftest.py", {"passed": 1}),
    "a fixture, beside a hook": (STATIC, HOOK, "conftest.py", {"passed": 1}),
    "a recipe of the hook": (NAMED, HOOK, "conftest.py", {"passed": 2}),
    "a recipe of the test": (STATED, "", "test_gates.py", {"passed": 1, "failed": 1}),
    "a class's fixture": (
        """
import pytest
from pytest_quant import assert_max_accuracy_drop


class TestShips:
    @pytest.fixture
    def variant(self, quant_static):
        return quant_static

    def test_drop(self, variant):
        assert_max_accuracy_drop(variant, 0.05)
""",
        "",
        "conftest.py",
        {"passed": 1},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_remedy_that_was_measured_mends_the_test(repo, case):
    test, more, file, outcomes = CASES[case]
    repo.makeconftest(CONFTEST + UNEQUAL + more)
    repo.makepyfile(test_gates=test)
    result = run(repo, "--quant-mend")
    assert result.ret == 1
    assert paste(repo, result) == [file]
    run(repo).assert_outcomes(**outcomes)


def test_a_folder_of_its_own_is_mended_alone(repo):
    folder = repo.mkdir("sub")
    (folder / "conftest.py").write_text("import pytest\n")
    for place in (repo.path, folder):
        (place / f"test_{place.name.replace('-', '_')}.py").write_text(STATIC)
    result = run(repo, "--quant-mend", "sub")
    assert paste(repo, result) == ["sub/conftest.py"]
    run(repo).assert_outcomes(passed=1, failed=1)


def test_a_repo_without_a_conftest_is_given_one(repo):
    (repo.path / "conftest.py").unlink()
    repo.makepyfile(test_gates=CONFTEST + UNEQUAL + STATIC)
    assert paste(repo, run(repo, "--quant-mend")) == ["conftest.py"]
    run(repo).assert_outcomes(passed=1)


def test_a_worker_proposes_the_same(repo):
    repo.makepyfile(test_gates=STATIC)
    assert paste(repo, run(repo, "--quant-mend", "-n", "1")) == ["conftest.py"]
    run(repo).assert_outcomes(passed=1)


def test_the_first_remedy_that_an_explanation_names_can_be_tried(repo):
    repo.makepyfile(test_gates=STATIC)
    result = run(repo)
    assert paste(repo, result) == ["conftest.py"]
    result.stdout.fnmatch_lines(
        ["# To paste into *: quant_static is then built so (not measured yet)."]
    )
    run(repo).assert_outcomes(passed=1)  # as `equalize` mends this model


def test_no_recipe_is_proposed_that_cannot_hold_the_limit(repo):
    repo.makeconftest(CONFTEST)
    repo.makepyfile(
        test_gates="from pytest_quant import *\n\n\n"
        "def test_it(quant_dynamic):\n    assert_max_size(quant_dynamic, mb=0.0001)\n"
    )
    result = run(repo)
    result.stdout.fnmatch_lines(["No recipe that is known here could meet this limit."])
    result.stdout.no_fnmatch_line("# To paste into*")


@pytest.mark.parametrize(
    ("gate", "file"),
    [
        ("assert_max_size(quant_dynamic, ratio=0.5)", "test_gates.py"),
        ("assert_max_accuracy_drop(quant_dynamic, 0)", "conftest.py"),
        ("assert_max_flips(quant_dynamic, 0)", "conftest.py"),
        ("assert_gates(quant_dynamic, max_size_ratio=0.5)", "test_gates.py"),
    ],
)
def test_what_other_gates_propose_runs_too(repo, gate, file):
    repo.makeconftest(CONFTEST)
    repo.makepyfile(
        test_gates=f"from pytest_quant import *\n\n\ndef test_it(quant_dynamic):\n    {gate}\n"
    )
    result = run(repo)
    result.assert_outcomes(failed=1)
    assert paste(repo, result) == [file]
    again = run(repo)
    outcomes = again.parseoutcomes()
    assert "errors" not in outcomes
    assert "error" not in outcomes
    assert sum(outcomes.values()) == (2 if file == "test_gates.py" else 1)
