"""With pytest-xdist: the same rows, bits, accuracy, size and share as without."""

import json

import pytest
from toyrepo import CONFTEST, GATES

BITS = """

def pytest_quant_recipes(config):
    from pytest_quant import Recipe
    return {"static-minmax": Recipe("static", observer="minmax")}
"""
OUTPUTS = """
import hashlib
import torch

def test_bits(quant_variant, record_property):
    outputs = quant_variant(torch.ones(4, 8))
    digest = hashlib.sha256(outputs.numpy().tobytes()).hexdigest()
    with open(f"bits-{quant_variant.name}.txt", "a") as file:
        file.write(digest + chr(10))
"""


@pytest.mark.slow
def test_two_workers_report_what_one_process_reports(pytester):
    pytester.makeconftest(CONFTEST + BITS)
    pytester.makepyfile(test_gates=GATES, test_outputs=OUTPUTS)
    reports = {}
    for workers in ("0", "2"):
        result = pytester.runpytest_subprocess(
            "--quant", "-n", workers, f"--quant-report=r{workers}"
        )
        result.assert_outcomes(passed=8)
        result.stdout.fnmatch_lines(["*= quantization =*"])
        reports[workers] = json.loads((pytester.path / f"r{workers}" / "report.json").read_text())
    alone, shared = (
        {row["variant"]: {key: row[key] for key in ("where", "model", "metrics", "size", "int8_share")}
         for row in reports[workers]["rows"]}
        for workers in ("0", "2")
    )  # fmt: skip
    assert alone == shared
    assert set(alone) == {"fp32", "dynamic", "static", "qat", "static-minmax"}
    assert reports["2"]["environment"]["workers"] == 2
    for name in ("dynamic", "static", "qat", "static-minmax"):
        assert len(set((pytester.path / f"bits-{name}.txt").read_text().split())) == 1


@pytest.mark.slow
def test_a_wrong_marker_is_one_sentence_with_workers_too(pytester):
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.quant(max_acuracy=0.01)
        def test_typo(quant_static): pass
        """
    )
    for arguments in ((), ("-n", "2")):
        result = pytester.runpytest_subprocess("--quant", *arguments)
        assert result.ret != 0
        output = result.stdout.str() + result.stderr.str()
        assert "unknown limit 'max_acuracy' (did you mean max_accuracy_drop?)" in output
