"""Files of other runtimes in a repo: by a recipe, and by --quant-artefact."""

import json

import pytest
from exported import CONFTEST, fp32_onnx, made_int8

GATES = """
from pytest_quant import assert_gates


def test_ships(quant_variant):
    assert_gates(quant_variant, max_accuracy_drop=0.1)
"""
OURS = ("--quant", "--quant-threads=1", "-p", "no:cacheprovider")


@pytest.fixture
def repo(pytester, monkeypatch):
    """Of a CNN, with int8.onnx and float.onnx in its folder build."""
    monkeypatch.setenv("COLUMNS", "500")
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_ships=GATES)
    pytester.makeini("[pytest]\n")
    pytester.mkdir("build")
    made_int8(pytester.path / "build")
    fp32_onnx(pytester.path / "build" / "float.onnx")
    return pytester


def test_a_file_of_the_command_line_is_judged_beside_the_others(repo):
    folder = repo.mkdir("elsewhere")
    repo.chdir()
    result = repo.runpytest_inprocess(
        *OURS, "--quant-artefact=int8=build/int8.onnx", "--quant-variants=int8",
        f"--rootdir={repo.path}", f"--quant-report={folder}",
    )  # fmt: skip
    result.assert_outcomes(passed=1, deselected=3)
    result.stdout.fnmatch_lines(
        ["Cnn * int8 * pt * 97.85 % * 1 PASS", "*run by ONNX Runtime*", "may ship: yes*"]
    )
    (row,) = (
        row
        for row in json.loads((folder / "report.json").read_text())["rows"]
        if row["variant"] == "int8"
    )
    assert row["recipe"]["path"] == "build/int8.onnx"
    assert (
        row["metrics"][0]["value"] > 0.95
    )  # without VNNI its kernels saturate, and one sample flips
    assert row["int8_share"]["macs"] == 1.0


def test_a_file_that_runs_in_float_may_not_ship(repo):
    result = repo.runpytest_inprocess(
        *OURS, "--quant-artefact=float=build/float.onnx", "--quant-variants=float"
    )
    result.assert_outcomes(failed=1, deselected=3)
    result.stdout.fnmatch_lines(["*accuracy FAIL: float was not quantized*", "may ship: no*"])


def test_one_that_cannot_be_loaded_is_an_error_and_the_others_are_measured(repo):
    (repo.path / "build" / "half.onnx").write_bytes(b"\x08")
    result = repo.runpytest_inprocess(
        *OURS, "--quant-artefact=int8=build/int8.onnx", "--quant-artefact=half=build/half.onnx",
        "--quant-variants=int8,half",
    )  # fmt: skip
    result.assert_outcomes(passed=1, errors=1, deselected=3)
    result.stdout.fnmatch_lines(["*load ERROR: *half.onnx cannot be read: it is no ONNX model*"])


def test_by_a_recipe_with_workers(repo):
    repo.makeconftest(
        CONFTEST
        + """

def pytest_quant_recipes(config):
    from pytest_quant import Recipe

    return {"ours": Recipe("artefact", path="build/int8.onnx")}
"""
    )
    result = repo.runpytest_inprocess(*OURS, "--quant-variants=ours,dynamic", "-n2")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["Cnn * ours * 1 PASS"])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("int8", "--quant-artefact is 'int8'; NAME=PATH is expected"),
        ("static=build/int8.onnx", "the name static is taken"),
        ("a=build/int8.bin", "that ends with one of .onnx, .xml, .pte, .tflite"),
        ("a=https://there/a.onnx", "expected a file on this machine"),
    ],
)
def test_what_is_no_file_is_a_usage_error_before_anything_runs(repo, given, said):
    result = repo.runpytest_inprocess(*OURS, f"--quant-artefact={given}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{said.replace('[', '[[]')}*"])


def test_two_files_of_one_name_are_a_usage_error(repo):
    result = repo.runpytest_inprocess(
        *OURS, "--quant-artefact=a=build/int8.onnx", "--quant-artefact=a=build/float.onnx"
    )
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*the name a is taken*"])


def test_a_file_that_no_test_asks_for_is_a_usage_error(repo):
    repo.makepyfile(test_ships="def test_ships(quant_dynamic):\n    pass\n")
    result = repo.runpytest_inprocess(*OURS, "--quant-artefact=a=build/int8.onnx")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--quant-artefact=a*no test uses quant_variant*"])


def test_the_option_says_nothing_without_gates(repo):
    result = repo.runpytest_inprocess("--quant-artefact=a=build/int8.onnx")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--quant-artefact has no effect without --quant*"])


def test_nor_is_it_lost_with_workers(repo):
    repo.makepyfile(test_ships="def test_ships(quant_dynamic):\n    pass\n")
    result = repo.runpytest_inprocess(*OURS, "--quant-artefact=a=build/int8.onnx", "-n1")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(["*--quant-artefact=a*no test uses quant_variant*"])
