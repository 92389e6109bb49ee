"""A look: `--quant-all` where no test asks for a variant shows all kinds, and a test file to paste."""

import json

import pytest
from toyrepo import CONFTEST

NO_TRAINING = CONFTEST.partition('@pytest.fixture(scope="session")\ndef quant_train_data')[0]
RECIPE = """

def pytest_quant_recipes(config):
    from pytest_quant import Recipe
    return {"static-min\\"max": Recipe("static", observer="minmax"), "static": Recipe("static", epochs=2)}
"""
CONVOLUTION = """return torch.nn.Sequential(
        torch.nn.Unflatten(1, (1, 8)), torch.nn.Conv1d(1, 3, 8), torch.nn.Flatten()
    ).eval()"""
LOSSY = """last.bias.zero_()
        noise = torch.randn(3, 16, generator=torch.Generator().manual_seed(1))
        last.weight += request.param * noise"""
UNIT = "def test_of_no_variant():\n    pass\n"


def look(pytester, *arguments, code=0):
    """A run that looks; what it printed."""
    result = pytester.runpytest_inprocess(
        "--quant", "--quant-all", "--quant-threads=1", "--quant-timing-seconds=0.1", *arguments
    )
    assert result.ret == code
    return result


def pasted(result):
    """File name -> text, of what was proposed."""
    parts = result.stdout.str().partition("\nmay ship: ")[0].split("\nNo test uses a variant yet. ")
    found = {}
    for part in parts[1:]:
        head, _, text = part.partition(":\n\n")
        found[head.removeprefix("To get started, paste this into ")] = text
    return found


def assert_green(pytester, files, passed):
    """Paste what was proposed, and see that it holds."""
    for name, text in files.items():
        (pytester.path / name).write_text(text)
    result = pytester.runpytest_inprocess("--quant", "--quant-threads=1")
    result.assert_outcomes(passed=passed)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["may ship: yes: *"])


def variants(result, model="Sequential"):
    lines = result.stdout.str().splitlines()
    found = [line.split()[1:] for line in lines if line.startswith(f"{model} ")]
    return [words[0] for words in found if words and "x" in words[2]]


def test_a_repo_without_a_test_gets_the_table_and_a_test_file_that_is_green(pytester):
    pytester.makeconftest(CONFTEST + RECIPE)
    result = look(pytester, "--quant-report=out")
    result.assert_outcomes(passed=4)
    assert variants(result) == ["fp32", "dynamic", "static", "qat", 'static-min"max']
    result.stdout.fnmatch_lines(["may ship: undecided: *no gate has judged a quantized variant*"])
    report = json.loads((pytester.path / "out" / "report.json").read_text())
    assert report["may_ship"]["answer"] == "undecided"
    assert report["verdicts"] == []
    assert all(row["latency"] for row in report["rows"] if row["variant"] != "fp32")
    files = pasted(result)
    assert [*files] == ["test_quant.py"]
    assert_green(pytester, files, passed=4)


@pytest.mark.slow
def test_two_folders_of_models_beside_other_tests_with_two_workers(pytester):
    pytester.makeconftest("")
    for name in ("a", "b"):
        (pytester.mkdir(name) / "conftest.py").write_text(NO_TRAINING)
    pytester.makepyfile(UNIT)
    result = look(pytester, "-n", "2")
    result.assert_outcomes(passed=3, skipped=4)
    assert variants(result, "Sequential (a)") == []
    files = pasted(result)
    assert [*files] == ["a/test_quant_a.py", "b/test_quant_b.py"]
    assert "No test of static yet: neither quant_calibration_data nor" in files["a/test_quant_a.py"]
    assert_green(pytester, files, passed=3)


def test_a_kind_that_breaks_is_an_error_and_a_comment_and_the_others_are_there(pytester):
    pytester.makeconftest(
        CONFTEST + "\n@pytest.fixture\ndef quant_loss():\n    return lambda a, b: 1 / 0\n"
    )
    result = look(pytester, code=1)
    result.assert_outcomes(passed=2, errors=1)
    assert variants(result)[:3] == ["fp32", "dynamic", "static"]
    result.stdout.fnmatch_lines(
        ["# No test of qat yet: train ERROR: *", "may ship: no: *look_at_qat could not be run*"]
    )
    assert_green(pytester, pasted(result), passed=2)


def test_what_a_kind_has_no_layers_or_data_for_is_skipped(pytester):
    pytester.makeconftest(
        NO_TRAINING.replace(
            "return torch.nn.Sequential(first, torch.nn.ReLU(), last).eval()", CONVOLUTION
        )
    )
    result = look(pytester)
    result.assert_outcomes(skipped=3)
    result.stdout.fnmatch_lines(
        [
            "*No test uses a variant yet, and no variant is worth a gate as it is:",
            "# No test of dynamic yet: nothing to quantize*",
        ]
    )


def test_a_repo_without_a_model_is_told_so(pytester):
    result = look(pytester, code=pytest.ExitCode.NO_TESTS_COLLECTED)
    result.stdout.fnmatch_lines(["*no conftest.py here overrides quant_model*"])


def test_what_is_proposed_is_called_as_the_repo_calls_its_tests(pytester):
    pytester.makeini("[pytest]\npython_files = check_*.py\npython_functions = check_*\n")
    pytester.makepyfile(check_it=NO_TRAINING)
    files = pasted(look(pytester))
    assert [*files] == ["check_it.py"]
    assert "def check_dynamic_may_ship(quant_dynamic):" in files["check_it.py"]
    assert_green(pytester, {"check_it.py": NO_TRAINING + files["check_it.py"]}, passed=1)


def test_several_models_of_one_fixture_share_the_loosest_limits(pytester):
    models = NO_TRAINING.replace(
        '@pytest.fixture(scope="session")\ndef quant_model():\n',
        '@pytest.fixture(scope="session", params=[0, 0.7], ids=["good", "lossy"])\n'
        "def quant_model(request):\n",
    ).replace("last.bias.zero_()", LOSSY)
    pytester.makeconftest(models)
    result = look(pytester)
    result.assert_outcomes(passed=2, skipped=4)
    assert_green(pytester, pasted(result), passed=2)


def test_limits_that_the_repo_states_are_left_to_it(pytester):
    pytester.makeconftest(NO_TRAINING)
    pytester.makeini("[pytest]\nquant_max_accuracy_drop = 0.3\nquant_max_size_ratio = 0.95\n")
    files = pasted(look(pytester))
    assert "    assert_gates(quant_dynamic)\n" in files["test_quant.py"]
    assert_green(pytester, files, passed=1)
    (pytester.path / "test_quant.py").unlink()
    pytester.makeini("[pytest]\nquant_max_size_ratio = 0.01\n")
    look(pytester).stdout.fnmatch_lines(["# No test of dynamic yet: *allowed 0.01 of*"])


def test_with_the_option_in_ini_a_single_test_starts_no_look(pytester):
    pytester.makeconftest(NO_TRAINING)
    pytester.makeini("[pytest]\nquant = true\nquant_all = true\n")
    pytester.makepyfile(UNIT)
    pytester.runpytest_inprocess(
        "test_with_the_option_in_ini_a_single_test_starts_no_look.py"
    ).assert_outcomes(passed=1)
    pytester.runpytest_inprocess("--co", "-q").stdout.fnmatch_lines(
        ["conftest.py::look_at_dynamic"]
    )


def test_a_folder_is_looked_at_for_the_models_that_its_tests_would_see(pytester):
    pytester.makeconftest(NO_TRAINING)
    for name, text in (
        ("a", NO_TRAINING),
        ("b", ""),
        ("c", "import pytest\n\n@pytest.fixture\ndef quant_metric(): pass"),
    ):
        (pytester.mkdir(name) / "conftest.py").write_text(text)

    def looks(*arguments):
        lines = look(pytester, "--co", "-q", *arguments).stdout.lines
        return [line.split("::")[0] for line in lines if line.endswith("::look_at_qat")]

    assert looks() == ["conftest.py", "a/conftest.py", "c/conftest.py"]
    assert looks("a") == ["a/conftest.py"]
    assert looks("b") == ["conftest.py"]
    assert looks("c", "b") == ["conftest.py", "c/conftest.py"]


def test_a_test_of_a_variant_ends_the_look(pytester):
    pytester.makeconftest(NO_TRAINING)
    pytester.makepyfile("def test_it(quant_dynamic): pass")
    result = look(pytester)
    result.assert_outcomes(passed=1)
    assert pasted(result) == {}
