"""A PyTorch that has lost `torch.ao.quantization`, as far as this package can see."""

import json

import pytest
from toyrepo import CONFTEST

# PyTorch and torchao import it themselves, so that what counts is who asks.
HOOK = """
import builtins, importlib, sys

GONE = ("torch.ao.quantization", "torch.ao.nn")
plain_import, import_module = builtins.__import__, importlib.import_module


def refuse(name, asker):
    if str(asker).startswith("pytest_quant") and name.startswith(GONE):
        raise ImportError(f"No module named {name!r} (hidden)")


def hidden_import(name, globals=None, *more, **others):
    refuse(name, (globals or {}).get("__name__"))
    return plain_import(name, globals, *more, **others)


def hidden_import_module(name, package=None):
    refuse(name, sys._getframe(1).f_globals.get("__name__"))
    return import_module(name, package)


builtins.__import__ = hidden_import
importlib.import_module = hidden_import_module
"""
TESTS = """
import pytest
from pytest_quant import Recipe, assert_gates, assert_max_accuracy_drop, load_variant


def test_static(quant_static, tmp_path):
    assert_gates(quant_static, max_accuracy_drop=0.1, max_size_ratio=0.9)
    path = quant_static.save(tmp_path / "static.pt")
    again = load_variant(path, quant_static.subject)
    x = quant_static.subject.eval_data[0][0]
    assert again(x).equal(quant_static(x))


def test_qat(quant_qat):
    assert_gates(quant_qat, max_accuracy_drop=0.2, max_size_ratio=0.9)


def test_dynamic(quant_dynamic):
    assert_max_accuracy_drop(quant_dynamic, 0.1)


@pytest.mark.parametrize("quant_variant", [Recipe("static", flow="best")], indirect=True)
def test_contest(quant_variant):
    assert_max_accuracy_drop(quant_variant, 0.1)


@pytest.mark.parametrize("quant_variant", [Recipe("static", flow="fx")], indirect=True)
def test_graph_mode(quant_variant):
    pass


@pytest.mark.parametrize("quant_variant", [Recipe("static", observer="minmax")], indirect=True)
def test_red(quant_variant):
    assert_gates(quant_variant, max_size_ratio=0.01, min_int8_share=0.5)
"""


@pytest.mark.slow
def test_auto_gives_pt2e_and_all_else_goes_on(pytester, monkeypatch):
    monkeypatch.setenv("COLUMNS", "500")
    pytester.makepyfile(hidden_ao=HOOK)
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_all=TESTS)
    monkeypatch.setenv("PYTHONPATH", str(pytester.path), prepend=":")
    result = pytester.runpytest_subprocess(
        "-p", "hidden_ao", "--quant", "--quant-threads=1", "--quant-explain", "--quant-report=reports",
        "--no-quant-cache", "-p", "no:randomly",
    )  # fmt: skip
    result.assert_outcomes(passed=4, failed=1, errors=1)
    result.stdout.fnmatch_lines(["*flow fx cannot take *torch.ao.quantization*hidden*"])
    document = json.loads((pytester.path / "reports" / "report.json").read_text())
    flows = {
        row["variant"]: row["recipe"]["flow"]
        for row in document["rows"]
        if row["recipe"] and not row["error"]
    }
    assert len(flows) == 5
    assert set(flows.values()) == {"pt2e"}
    explained = {row["variant"]: row.get("explanation") for row in document["rows"]}
    assert explained["static"]
    assert explained["qat"]
