"""Flows as a user meets them: chosen, named, refused, saved, and without a compiler."""

import json
import subprocess
import sys

import pytest

BRANCHING = """
class Branching(Own):
    def forward(self, x):
        x = torch.relu(self.first(x))
        if x.sum() < 0:
            x = -x
        return self.last(x)

@pytest.fixture(scope="session")
def quant_model():
    return Subject(Branching(), name="bad")
"""
RECIPES = """

def pytest_quant_recipes(config):
    from pytest_quant import Recipe
    return {recipes}
"""
GATED = """
def test_one(quant_variant):
    assert_gates(quant_variant, max_accuracy_drop=0.05, min_int8_share=0.8)
"""


def with_recipes(model_repo, **recipes):
    shown = ", ".join(f"{name!r}: Recipe({recipe})" for name, recipe in recipes.items())
    with (model_repo.path / "conftest.py").open("a") as file:
        file.write(RECIPES.format(recipes=f"{{{shown}}}"))


def one_variant(names):
    """A test for each of these variants."""
    listed = ", ".join(map(repr, names))
    return f'@pytest.mark.parametrize("quant_variant", [{listed}], indirect=True)' + GATED


def row_of(model_repo, variant):
    report = json.loads((model_repo.path / "report" / "report.json").read_text())
    (row,) = [r for r in report["rows"] if (r["model"], r["variant"]) == ("bad", variant)]
    return row


def test_the_report_says_which_flow_was_taken_and_why(model_repo):
    model_repo.spoil(BRANCHING, one_variant(["static"]))
    result = model_repo.judge("--quant-report=report", passed=1)
    result.stdout.fnmatch_lines(
        [
            "bad static: quantized by flow parts, since fx cannot trace *(conftest.py:*: if x.sum() < 0:)*"
        ]
    )
    recipe = row_of(model_repo, "static")["recipe"]
    assert (recipe["flow"], recipe["engine"]) == ("parts", "x86")


def test_a_flow_that_a_recipe_names_is_taken_or_an_error(model_repo):
    with_recipes(model_repo, traced="'static', flow='fx'", parted="'static', flow='parts'")
    model_repo.spoil(BRANCHING, one_variant(["traced", "parted"]))
    result = model_repo.judge("--quant-report=report", passed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["E *prepare ERROR: flow fx cannot trace quant_model: *(conftest.py:*: if x.sum() < 0:)*"]
    )
    assert row_of(model_repo, "parted")["recipe"]["flow"] == "parts"
    assert "flow fx cannot trace" in row_of(model_repo, "traced")["error"]


SAVES = """
def test_save(quant_static, tmp_path_factory):
    quant_static.save("variant.pt")
    torch.save(quant_static(torch.ones(4, 6)), "outputs.pt")
"""
LOADS = """
import sys, torch
sys.path.insert(0, ".")
from pytest_quant import load_variant
from toys import classifier

loaded = load_variant("variant.pt", classifier())
print(loaded.recipe.label, torch.equal(loaded(torch.ones(4, 6)), torch.load("outputs.pt")))
"""


def test_what_a_test_saves_another_process_loads_bit_for_bit(model_repo):
    model_repo.spoil("", "import torch\n" + SAVES)
    model_repo.judge(passed=1)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LOADS],
        cwd=model_repo.path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "static(flow=fx, engine=x86) True\n", done.stderr


@pytest.fixture
def no_compiler(monkeypatch, tmp_path):
    """No C++ compiler, and nothing that one has compiled before."""
    monkeypatch.setenv("CXX", str(tmp_path / "nowhere" / "g++"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


CHECKING = """
class Checking(Own):
    def forward(self, x):
        if x.shape[1] != 6:
            raise ValueError(x.shape)
        return self.last(torch.relu(self.first(x)))

@pytest.fixture(scope="session")
def quant_model():
    return Subject(Checking(), name="bad")
"""


@pytest.mark.slow
def test_without_a_compiler_a_sentence_says_what_to_install(model_repo, no_compiler):
    with_recipes(model_repo, compiled="'static', flow='pt2e'")
    model_repo.spoil(CHECKING, one_variant(["compiled", "static"]))
    result = model_repo.pytester.runpytest_subprocess("--quant", "-q")
    result.assert_outcomes(passed=2, errors=1)
    said = "flow pt2e compiles the model and found no C++ compiler; install g++*or set CXX."
    result.stdout.fnmatch_lines([f"E *compile ERROR: {said}"])
    result.stdout.fnmatch_lines(
        [
            "bad static: quantized by flow parts, since fx cannot trace *; pt2e failed: flow pt2e *C++*"
        ]
    )


@pytest.mark.slow
def test_a_compiled_variant_is_judged_without_a_warning(model_repo):
    with_recipes(model_repo, compiled="'static', flow='pt2e'", dynamic2="'dynamic', flow='pt2e'")
    model_repo.spoil("", one_variant(["compiled", "dynamic2"]))
    result = model_repo.judge("-W", "error", "--quant-report=report", passed=2)
    result.stdout.no_fnmatch_line("*torch.__trace*")
    for name in ("compiled", "dynamic2"):
        row = row_of(model_repo, name)
        assert (row["recipe"]["flow"], row["recipe"]["engine"]) == ("pt2e", "onednn")
        assert row["int8_share"]["macs"] == 1.0
