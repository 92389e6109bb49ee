"""A tutorial can be followed: its files, as they stand, give what it says."""

import sys

import pytest
from pages import ROOT, files_of

TUTORIAL = ROOT / "docs/tutorial"
EXPECTED = {
    "first_gate": {"tests": 2, "gates": 4, "kinds": "(static, qat)"},
    "regression": {"tests": 2, "gates": 3, "kinds": "(static, qat)"},
}


@pytest.fixture
def followed(pytester):
    """Write the files of a tutorial into an empty folder."""

    def write(name):
        pytester.makepyfile(**files_of(TUTORIAL / f"{name}.md"))

    return write


@pytest.mark.parametrize("name", EXPECTED)
def test_a_tutorial_ends_green(pytester, followed, name):
    followed(name)  # but for test_speed.py, whose verdict is the machine's
    expected = EXPECTED[name]
    result = pytester.runpytest_subprocess("--quant", "--quant-threads=1", "test_quant.py")
    result.assert_outcomes(passed=expected["tests"])
    line = f"may ship: yes: Sequential: all {expected['gates']} gates hold {expected['kinds']}"
    result.stdout.fnmatch_lines([f"{line}*"])


def test_the_first_gate_shows_its_answer(pytester, followed):
    page = (TUTORIAL / "first_gate.md").read_text(encoding="utf-8")
    assert "may ship: yes: Sequential: all 4 gates hold (static, qat)\n" in page


def test_the_first_gate_fails_where_it_is_told_to(pytester, followed):
    followed("first_gate")
    gates = pytester.path / "test_quant.py"
    gates.write_text(gates.read_text().replace("ratio=0.30)", "ratio=0.10)", 1))
    result = pytester.runpytest_subprocess(
        "--quant", "--quant-threads=1", "-k", "static", "test_quant.py"
    )
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(["*size FAIL: static needs *", "layer *stored as*"])


@pytest.mark.slow
def test_hugging_face_ends_green(pytester, followed):
    pytest.importorskip("transformers", reason="needs the extra zoo")
    followed("hugging_face")
    made = pytester.run(sys.executable, "make_checkpoint.py")
    assert made.ret == 0
    result = pytester.runpytest_subprocess("--quant", "--quant-threads=1")
    result.assert_outcomes(passed=1)
    page = (TUTORIAL / "hugging_face.md").read_text(encoding="utf-8")
    (line,) = (line for line in page.splitlines() if line.startswith("may ship: yes: "))
    result.stdout.fnmatch_lines([line])
