"""An error raised on purpose is its sentence and the user's own lines; a fault of ours is told in full."""

import re

import pytest
from toyrepo import CONFTEST

import pytest_quant

FIXTURES = """

@pytest.fixture(scope="session")
def of_mine():
    return {}["of mine"]  # what is wrong is here


def build(module):
    raise ValueError("the first line" + chr(10) + "the second line")


def pytest_quant_recipes(config):
    from pytest_quant import Recipe

    return {"own": Recipe("custom", build=build)}


@pytest.fixture
def fault_of_ours(monkeypatch):
    monkeypatch.setattr("pytest_quant.judge.size_limit.MB", None)


@pytest.fixture
def fault_in_ours(monkeypatch):
    monkeypatch.setattr("pytest_quant.judge.gates.judge_size", lambda *args, **given: {}["gone"])
"""
TESTS = """
import pytest
from pytest_quant import Recipe, assert_gates, assert_max_accuracy_drop, assert_max_size


class TestWithoutModel:
    @pytest.fixture(scope="session")
    @classmethod
    def quant_model(cls):
        return 3

    def test_no_model(self, quant_dynamic):
        pass


def test_breach(quant_dynamic):
    assert_max_size(quant_dynamic, ratio=0.1)


def test_breaches(quant_dynamic):
    assert_gates(quant_dynamic, max_size_ratio=0.1, max_size_mb=0.0)


def test_no_limit(quant_dynamic):
    assert_max_size(quant_dynamic)


def test_wrong_limit(quant_dynamic):
    assert_max_size(quant_dynamic, ratio=-1)


def test_no_variant():
    assert_max_size(3, ratio=0.1)


@pytest.mark.parametrize("quant_variant", [3], indirect=True)
def test_no_recipe(quant_variant):
    pass


def test_wrong_recipe():
    Recipe("static", observer="none")


class TestMetric:
    @pytest.fixture(scope="session")
    @classmethod
    def quant_metric(cls):
        calls = []

        def metric(outputs, targets):
            calls.append(1)
            if len(calls) > 3:
                raise RuntimeError("too late")  # the metric's line
            return (outputs.argmax(1) == targets).float()

        return metric

    def test_in_the_call(self, quant_dynamic):
        assert_max_accuracy_drop(quant_dynamic, 0.1)
"""
OF_THE_USER = """
import pytest


@pytest.mark.parametrize("quant_variant", ["own"], indirect=True)
def test_build(quant_variant):
    pass


def test_fixture(of_mine, quant_dynamic):
    pass


def test_of_no_variant(of_mine):
    pass


def test_by_name(request):
    request.getfixturevalue("quant_dynamic")
    request.getfixturevalue("of_mine")


class TestData:
    @pytest.fixture(scope="session")
    @classmethod
    def quant_metric(cls):
        return len(3)  # the fixture's line

    def test_data(self, quant_dynamic):
        pass
"""
FAULTS = """
from pytest_quant import assert_max_size


def test_of_ours(quant_dynamic, fault_of_ours):
    assert_max_size(quant_dynamic, mb=0.1)


def test_in_ours(quant_dynamic, fault_in_ours):
    assert_max_size(quant_dynamic, mb=0.1)
"""
SENTENCES = [
    "fixture ERROR: quant_model gave a int",
    "size FAIL: dynamic needs ",
    "assert_max_size takes exactly one of ratio and mb",
    "max_size_ratio is -1; expected a ratio",
    "assert_max_size was given 3; expected a Variant",
    "quant_variant was parametrized with 3; expected dynamic",
    "Recipe: observer is 'none'; allowed: histogram",
    "evaluate ERROR: metric metric raised: RuntimeError: too late",
]
FOLDER = pytest_quant.__path__[0]
STYLES = ["auto", "short", "long", "native"]


@pytest.fixture
def repo(pytester):
    pytester.makeconftest(CONFTEST + FIXTURES)
    return pytester


def failures_of(result):
    """What pytest shows of failures and errors, before our own section."""
    return re.split(r"=+ quantization =+", result.stdout.str())[0]


def lines_of_the_package(text):
    """Lines that name a file of the package, as tracebacks of all styles do."""
    return [line for line in text.splitlines() if re.search(r"pytest_quant/\w+[/.]|<string>", line)]


@pytest.mark.parametrize("style", STYLES)
def test_what_is_raised_on_purpose_is_a_sentence(repo, style):
    repo.makepyfile(TESTS)
    result = repo.runpytest_inprocess("--quant", f"--tb={style}", "--junitxml=out.xml")
    result.assert_outcomes(errors=3, failed=6)
    shown = failures_of(result)
    assert [sentence for sentence in SENTENCES if sentence not in shown] == []
    assert lines_of_the_package(shown) == []
    assert "the metric's line" in shown
    assert lines_of_the_package((repo.path / "out.xml").read_text()) == []


@pytest.mark.parametrize("style", STYLES)
def test_the_users_own_lines_stay(repo, style):
    repo.makepyfile(OF_THE_USER)
    result = repo.runpytest_inprocess("--quant", f"--tb={style}")
    result.assert_outcomes(errors=4, failed=1)
    shown = failures_of(result)
    assert shown.count("what is wrong is here") >= 3
    assert shown.count("the fixture's line") == 1
    # of the build's error more than its first line, which is what our sentence says of it
    assert "raise ValueError(" in shown
    assert re.search(r"^(E +)?the second line", shown, re.MULTILINE)
    assert "convert ERROR: the recipe's build raised: ValueError: the first line" in shown
    assert lines_of_the_package(shown) == []


@pytest.mark.parametrize("style", STYLES)
def test_a_fault_of_ours_keeps_its_traceback(repo, style):
    repo.makepyfile(FAULTS)
    result = repo.runpytest_inprocess("--quant", f"--tb={style}")
    result.assert_outcomes(failed=2)
    named = "\n".join(lines_of_the_package(failures_of(result)))
    assert named.count("judge/gates.py") >= 2
    assert named.count("judge/size_limit.py") == 1


def test_with_workers_too(repo):
    repo.makepyfile(TESTS)
    result = repo.runpytest_inprocess("--quant", "-n", "2")
    result.assert_outcomes(errors=3, failed=6)
    shown = failures_of(result)
    assert [sentence for sentence in SENTENCES if sentence not in shown] == []
    assert lines_of_the_package(shown) == []
    assert "the metric's line" in shown


def test_full_trace_shows_all(repo):
    repo.makepyfile(TESTS)
    result = repo.runpytest_inprocess("--quant", "--full-trace", "-k", "no_model")
    assert lines_of_the_package(failures_of(result))


def test_without_gates_too(repo):
    repo.makepyfile(
        """
        from pytest_quant import Conditions, Recipe, assert_max_size, open_store

        def test_wrong_recipe():
            Recipe("static", observer="none")

        def test_no_variant():
            assert_max_size(3, ratio=0.1)
        """
    )
    result = repo.runpytest_inprocess()
    result.assert_outcomes(failed=2)
    assert lines_of_the_package(result.stdout.str()) == []


@pytest.mark.parametrize("style", ["auto", "native"])
def test_a_recipe_that_cannot_be_is_one_line_while_tests_are_collected(repo, style):
    repo.makepyfile(
        test_recipes="""
        import pytest
        from pytest_quant import Recipe

        @pytest.mark.parametrize("quant_variant", [Recipe("static", lr=3)], indirect=True)
        def test_recipe(quant_variant):
            pass
        """
    )
    result = repo.runpytest_inprocess("--quant", f"--tb={style}")
    result.assert_outcomes(errors=1)
    shown = failures_of(result)
    assert "Recipe: lr=3 does not apply to kind='static'; leave it out" in shown
    assert 'Recipe("static", lr=3)' in shown
    assert [x for x in lines_of_the_package(shown) if "<string>" not in x] == []


HOOKS = {
    "pytest_quant_recipes": 'from pytest_quant import Recipe; return {"a": Recipe("static", lr=3)}',
    "pytest_quant_gates": "return {}[3]",
}


@pytest.mark.parametrize("name", HOOKS)
@pytest.mark.parametrize("folder", [".", "sub"])
def test_a_hook_that_raises_is_one_line(repo, name, folder):
    hook = f"\n\ndef {name}(config):\n    {HOOKS[name]}\n"
    (repo.path / folder).mkdir(exist_ok=True)
    with (repo.path / folder / "conftest.py").open("a") as conftest:
        conftest.write(hook.replace("; ", "\n    "))
    (repo.path / folder / "test_of_it.py").write_text("def test_of_it(quant_variant):\n    pass\n")
    result = repo.runpytest_inprocess("--quant", folder)
    assert result.ret not in (0, pytest.ExitCode.INTERNAL_ERROR)
    said = result.stdout.str() + result.stderr.str()
    assert re.search(rf"{name} raised in .*conftest.py:\d+ \(return .*\): \w+: ", said)
    assert lines_of_the_package(said) == []
    assert "INTERNALERROR" not in said
