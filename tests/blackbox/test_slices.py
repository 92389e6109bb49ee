"""Slices in a run: the class that broke is named first, whatever evaluates, keeps or compares it."""

import json

import pytest
from toyrepo import CONFTEST

# Three models of ten classes, of each of which a recipe breaks one class by damaging its row in the head.
CONFTEST_OF_THREE = """
import copy

import pytest
import torch
from pytest_quant import Recipe, Subject

CLASSES, FEATURES = 10, 40


def batches(seed, samples=2000, size=250):
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(samples) % CLASSES
    x = torch.randn(samples, FEATURES, generator=g) * 0.5
    x[torch.arange(samples), y] += 2.5
    return list(zip(x.split(size), y.split(size)))


class Branched(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = torch.nn.Linear(FEATURES, 32), torch.nn.Linear(FEATURES, 32)
        self.head = torch.nn.Linear(32, CLASSES)

    def forward(self, x):
        return self.head(torch.relu(self.one(x)) + torch.tanh(self.two(x)))


class Convolved(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv1d(1, 8, 5, padding=2)
        self.head = torch.nn.Linear(8 * FEATURES, CLASSES)

    def forward(self, x):
        return self.head(torch.relu(self.conv(x[:, None])).flatten(1))


class Plain(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(FEATURES, 64)
        self.head = torch.nn.Linear(64, CLASSES)

    def forward(self, x):
        return self.head(torch.relu(self.first(x)))


def trained(kind):
    torch.manual_seed(0)
    model = kind()
    adam = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(3):
        for x, y in batches(7):
            adam.zero_grad()
            torch.nn.functional.cross_entropy(model(x), y).backward()
            adam.step()
    return model.eval()


BROKEN = {"Plain": 3, "Branched": 7, "Convolved": 0}


def damaged(model):
    broken = copy.deepcopy(model)
    with torch.no_grad():
        broken.head.weight[BROKEN[type(model).__name__]] *= 0.25
        broken.head.bias[BROKEN[type(model).__name__]] -= 2
    return broken


def pytest_quant_recipes(config):
    return {"damaged": Recipe("custom", build=damaged, quantized=False, cache_key="1")}


@pytest.fixture(scope="session", params=[Plain, Branched, Convolved])
def quant_model(request):
    return Subject(trained(request.param), request.param.__name__)


@pytest.fixture(scope="session")
def quant_eval_data():
    return batches(1)


@pytest.fixture(scope="session")
def quant_calibration_data():
    return batches(2)
"""
GATE_OF_THREE = """
import pytest
from pytest_quant import assert_max_slice_drop


@pytest.mark.parametrize("quant_variant", ["damaged", "static"], indirect=True)
def test_slices(quant_variant):
    assert_max_slice_drop(quant_variant, 0.05)
"""


def report_of(repo, folder="out"):
    return json.loads((repo.path / folder / "report.json").read_text())


def verdicts(repo):
    return {(v["model"], v["variant"]): v for v in report_of(repo)["verdicts"]}


def test_the_broken_class_of_each_model_is_named_in_the_first_sentence(pytester):
    pytester.makeconftest(CONFTEST_OF_THREE)
    pytester.makepyfile(GATE_OF_THREE)
    result = pytester.runpytest("--quant", "--quant-report=out")
    result.assert_outcomes(passed=3, failed=3)
    found = verdicts(pytester)
    for model, broken in {"Plain": 3, "Branched": 7, "Convolved": 0}.items():
        said = rf"slice drop FAIL: damaged drops [0-9.]+ pt on class {broken} \(\d+ -> \d+ of 200 right\)"
        result.stdout.re_match_lines(
            [rf"E +AssertionError: {said}, allowed 5\.00 pt; .* by chance"]
        )
        assert found[model, "damaged"]["evidence"]["over"] == [f"class {broken}"]
        assert found[model, "static"]["outcome"] == "PASS"
    notes = [note for row in report_of(pytester)["rows"] for note in row["notes"]]
    assert sum("loses far more on some slices than chance explains" in note for note in notes) == 3
    page = (pytester.path / "out" / "report.html").read_text()
    assert page.count("Worst slices of") == 6
    flipping = [row for row in report_of(pytester)["rows"] if row["metrics"][0]["flips"]]
    assert page.count('aria-label="Samples that flip of') == len(flipping) >= 3
    for row in report_of(pytester)["rows"]:
        for metric in row["metrics"]:
            flips = metric["worst_flips"] or []
            assert all(flip["label"] == flip["position"] % 10 for flip in flips)
            assert all(flip["fp32_class"] != flip["variant_class"] for flip in flips)
            assert {flip["position"] for flip in flips} <= {*(metric["flipped"] or ())}
            if row["variant"] == "damaged":
                assert len(flips) == min(24, metric["flips"])
                broken = {"Plain": 3, "Branched": 7, "Convolved": 0}[row["model"]]
                assert flips[0]["label"] == flips[0]["fp32_class"] == broken
    assert "class 7" in (pytester.path / "out" / "report.md").read_text()


SLICES = """

@pytest.fixture(scope="session")
def quant_slices():
    return lambda inputs, targets: ["high" if x > 0 else "low" for x in inputs[:, 0]]
"""
GATES = """
from pytest_quant import assert_max_slice_drop


def test_static(quant_static):
    verdict = assert_max_slice_drop(quant_static, 0.5, min_samples=5)
    assert verdict.evidence["by"] == "quant_slices"
    assert verdict.evidence["slices"] == 2


def test_dynamic(quant_dynamic):
    assert_max_slice_drop(quant_dynamic, 0.5, min_samples=5)
"""


@pytest.fixture
def repo(pytester):
    pytester.makeconftest(CONFTEST + SLICES)
    pytester.makepyfile(GATES)
    return pytester


def slices_of(repo, folder="out"):
    return {
        row["variant"]: {s["name"]: (s["samples"], s["lost"], s["won"]) for s in metric["slices"]}
        for row in report_of(repo, folder)["rows"]
        for metric in row["metrics"]
        if row["variant"] != "fp32"
    }


def flips_of(repo, folder="out"):
    rows = report_of(repo, folder)["rows"]
    return {row["variant"]: [metric["worst_flips"] for metric in row["metrics"]] for row in rows}


def test_named_slices_are_told_in_every_file(repo):
    result = repo.runpytest("--quant", "--quant-report=out")
    result.assert_outcomes(passed=2)
    result.stdout.re_match_lines([r"Sequential static: worst of 2 slices: "])
    found = slices_of(repo)
    assert set(found["static"]) == {"high", "low"}
    assert sum(samples for samples, *_ in found["static"].values()) == 64
    assert "worst of 2 slices" in (repo.path / "out" / "report.md").read_text()
    assert "Worst slices of Sequential static" in (repo.path / "out" / "report.html").read_text()


@pytest.mark.parametrize("more", [["--quant-jobs=2"], ["-n2"], ["--no-quant-cache"]])
def test_however_it_is_run_slices_are_the_same(repo, more):
    repo.runpytest("--quant", "--quant-report=out").assert_outcomes(passed=2)
    repo.runpytest("--quant", "--quant-report=other", *more).assert_outcomes(passed=2)
    assert slices_of(repo) == slices_of(repo, "other")
    assert flips_of(repo) == flips_of(repo, "other")


def test_what_the_cache_gives_has_the_slices_of_the_callable_that_is_there_now(repo):
    repo.runpytest("--quant", "--quant-report=out").assert_outcomes(passed=2)
    repo.runpytest("--quant", "--quant-report=same").assert_outcomes(passed=2)
    rows = report_of(repo, "same")["rows"]
    assert all("evaluation" in row["from_cache"] for row in rows)
    assert slices_of(repo) == slices_of(repo, "same")
    assert flips_of(repo) == flips_of(repo, "same")
    repo.makeconftest(CONFTEST + SLICES.replace('"high"', '"hot"').replace("> 0", "> 1"))
    repo.runpytest("--quant", "--quant-report=new").assert_outcomes(passed=2)
    old, found = slices_of(repo)["static"], slices_of(repo, "new")["static"]
    assert set(found) == {"hot", "low"}
    assert found["low"][0] > old["low"][0]
    repo.makeconftest(CONFTEST)
    repo.makepyfile(GATES.replace('"quant_slices"', '"class"').replace("== 2", "== 3"))
    repo.runpytest("--quant", "--quant-report=none").assert_outcomes(passed=2)
    assert set(slices_of(repo, "none")["static"]) == {f"class {i}" for i in range(3)}


NAMES_OF_A_FILE = """
import json
from pathlib import Path


@pytest.fixture(scope="session")
def quant_slices():
    def names(inputs, targets):
        known = json.loads(Path("names.json").read_text())
        return [known[int(x > 0)] for x in inputs[:, 0]]

    return names
"""


def test_a_file_that_names_the_slices_counts_by_its_content(repo):
    repo.makeconftest(CONFTEST + NAMES_OF_A_FILE)
    for folder, names in {"out": ["a", "b"], "new": ["a", "c"], "again": ["a", "c"]}.items():
        (repo.path / "names.json").write_text(json.dumps(names))
        repo.runpytest("--quant", f"--quant-report={folder}").assert_outcomes(passed=2)
        assert set(slices_of(repo, folder)["static"]) == set(names)
    for row in report_of(repo, "new")["rows"]:  # FP32 alone is evaluated anew
        assert row["from_cache"] == ([] if row["variant"] == "fp32" else ["build", "evaluation"])


def test_a_baseline_keeps_the_gate_and_is_compared_with(repo):
    repo.runpytest("--quant", "--quant-save=main").assert_outcomes(passed=2)
    result = repo.runpytest("--quant", "--quant-compare=main", "--quant-report=out")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["may ship: yes*"])
    repo.makeconftest(CONFTEST)
    repo.makepyfile(GATES.replace('"quant_slices"', '"class"').replace("== 2", "== 3"))
    repo.runpytest("--quant", "--quant-compare=main").assert_outcomes(passed=2)


def test_each_eval_set_and_each_model_has_slices_of_its_own(pytester):
    pytester.makeconftest(CONFTEST + SLICES)
    for folder, names in {"one": "'odd' if y % 2 else 'even'", "two": "f'digit {y}'"}.items():
        place = pytester.mkdir(folder)
        (place / "conftest.py").write_text(
            "import pytest\nfrom conftest_top import batches\n\n"
            "@pytest.fixture(scope='session', params=[1, 5])\n"
            "def quant_eval_data(request):\n    return batches(request.param, 32 * request.param)\n\n"
            "@pytest.fixture(scope='session')\ndef quant_slices():\n"
            f"    return lambda inputs, targets: [{names} for y in targets.tolist()]\n"
        )
        (place / f"test_{folder}.py").write_text(
            "from pytest_quant import assert_max_slice_drop\n\ndef test_it(quant_dynamic):\n"
            "    assert_max_slice_drop(quant_dynamic, 0.5, min_samples=5)\n"
        )
    (pytester.path / "conftest_top.py").write_text(CONFTEST)
    pytester.syspathinsert()
    pytester.runpytest("--quant", "--quant-report=out", "--import-mode=importlib").assert_outcomes(
        passed=4
    )
    found = {}
    for row in report_of(pytester)["rows"]:
        if row["variant"] == "dynamic":
            (metric,) = row["metrics"]
            found[row["where"], metric["samples"]] = {s["name"] for s in metric["slices"]}
    odd, digits = {"odd", "even"}, {"digit 0", "digit 1", "digit 2"}
    assert found == {("one", 32): odd, ("one", 160): odd, ("two", 32): digits, ("two", 160): digits}


LOCKED = """
import threading


class Named:
    def __init__(self):
        self.lock = threading.Lock()

    def __call__(self, inputs, targets):
        return ["high" if x > 0 else "low" for x in inputs[:, 0]]


@pytest.fixture(scope="session")
def quant_slices():
    return Named()
"""


def test_a_callable_that_has_no_digest_and_crosses_to_no_process_is_told(repo):
    repo.makeconftest(CONFTEST + LOCKED)
    for folder in ("out", "again"):
        repo.runpytest("--quant", "--quant-jobs=2", f"--quant-report={folder}").assert_outcomes(
            passed=2
        )
    assert slices_of(repo) == slices_of(repo, "again")
    fp32 = report_of(repo, "again")["rows"][0]
    assert "quant_slices holds what no digest can be made of" in fp32["not_kept"]
    assert any("evaluated by one process, not by 2" in note for note in fp32["notes"])
    assert "build" in report_of(repo, "again")["rows"][1]["from_cache"]


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ("lambda inputs, targets: ['a']", "quant_slices gave 1 names for a batch of 16 samples"),
        ("lambda inputs, targets: targets / 2", "quant_slices named a sample *, a float; a name is*"),
        ("lambda inputs, targets: open('nowhere')", "quant_slices raised on a batch * FileNotFoundError"),
        ("['a', 'b']", "quant_slices gave [[]'a', 'b'[]]; expected a callable*"),
        ("lambda inputs, targets: [None] * 16", "quant_slices put none of the 64 samples*"),
    ],
)  # fmt: skip
def test_a_wrong_quant_slices_is_an_error_by_one_sentence(repo, returned, said):
    repo.makeconftest(CONFTEST + SLICES.partition("    return")[0] + f"    return {returned}\n")
    result = repo.runpytest("--quant", "-k", "dynamic")
    result.stdout.fnmatch_lines([f"*fixture ERROR: {said}*"])
    assert result.ret == 1


def test_a_limit_from_marker_command_line_and_ini(repo):
    repo.makeini("[pytest]\nquant_max_slice_drop = 0.9\n")
    repo.makepyfile(
        """
import pytest
from pytest_quant import assert_gates, assert_max_slice_drop

def test_ini(quant_dynamic):
    assert assert_max_slice_drop(quant_dynamic, min_samples=1).limit == 0.9

@pytest.mark.quant(max_slice_drop=0.8)
def test_marker(quant_dynamic):
    assert assert_max_slice_drop(quant_dynamic, min_samples=1).limit == 0.8
    assert [v.gate for v in assert_gates(quant_dynamic)] == ["max_slice_drop"]
"""
    )
    # of 64 samples in two slices both have 30; a slice of fewer would be told
    repo.runpytest("--quant").assert_outcomes(passed=2)
    result = repo.runpytest("--quant", "--quant-max-slice-drop=7")
    result.stdout.fnmatch_lines(
        ["*ValueError: max_slice_drop is 7.0 for top-1, a metric in fractions*"]
    )
