"""The cache between runs: where it lies, what it spares, and that the report says so."""

import json
import re

import pytest

CONFTEST = """
import pytest, torch
from pytest_quant import Subject

torch.manual_seed(0)

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))

    def forward(self, x):
        return self.body(x)


def batches(seed):
    x = torch.randn(320, 8, generator=torch.Generator().manual_seed(seed))
    return list(zip(x.split(80), x[:, :3].argmax(1).split(80)))


@pytest.fixture(scope="session")
def quant_model():
    torch.manual_seed(0)
    return Subject(Net().eval(), name="net")


@pytest.fixture(scope="session")
def quant_eval_data():
    return batches(1)


@pytest.fixture(scope="session")
def quant_calibration_data():
    return batches(2)


@pytest.fixture(scope="session")
def quant_train_data():
    return batches(3)
"""
GATES = """
from pytest_quant import assert_max_accuracy_drop

def test_static(quant_static):
    assert_max_accuracy_drop(quant_static, {limit})

def test_qat(quant_qat):
    assert_max_accuracy_drop(quant_qat, {limit})

def test_dynamic(quant_dynamic):
    assert_max_accuracy_drop(quant_dynamic, {limit})
"""


@pytest.fixture
def repo(pytester):
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_gates=GATES.format(limit=0.5))
    return pytester


def rows_of(repo, *options, passed=3):
    result = repo.runpytest_inprocess("--quant", "--quant-report=r", "-p", "no:randomly", *options)
    result.assert_outcomes(passed=passed)
    rows = json.loads((repo.path / "r" / "report.json").read_text())["rows"]
    return {row["variant"]: row for row in rows}, result


def old(rows):
    return {name: tuple(row["from_cache"]) for name, row in rows.items()}


NOTHING = {"fp32": (), "static": (), "qat": (), "dynamic": ()}
ALL = {
    "fp32": ("evaluation",),
    **dict.fromkeys(("static", "qat", "dynamic"), ("build", "evaluation")),
}


def figures(rows):
    return {name: (row["metrics"], row["size"], row["notes"]) for name, row in rows.items()}


def test_the_second_run_takes_all_from_pytests_cache_and_says_so(repo):
    first, result = rows_of(repo)
    assert old(first) == NOTHING
    assert "from the cache" not in result.stdout.str()
    repo.makepyfile(test_gates=GATES.format(limit=0.25))  # another limit
    second, result = rows_of(repo, "--quant-durations")
    assert old(second) == ALL
    assert figures(second) == figures(first)
    result.stdout.fnmatch_lines(["may ship: yes*"])
    said = re.sub(r"\s+", " ", result.stdout.str())
    assert "from the cache of an earlier run: fp32 (evaluation), " in said
    assert "static (build, evaluation)" in said
    assert (repo.path / ".pytest_cache" / "d" / "quant").is_dir()
    third, _ = rows_of(repo, "--cache-clear")
    assert old(third) == NOTHING


def test_what_switches_it_off(repo):
    for options in (("--no-quant-cache",), ("-p", "no:cacheprovider")):
        for _ in range(2):
            assert old(rows_of(repo, *options)[0]) == NOTHING
        assert not list(repo.path.rglob("*.entry"))


def test_a_folder_of_its_own(repo):
    for expected in (NOTHING, ALL):
        assert old(rows_of(repo, "--quant-cache=kept")[0]) == expected
    assert list((repo.path / "kept").rglob("*.entry"))
    (repo.path / "kept" / "notes.txt").write_text("of the user's")
    assert old(rows_of(repo, "--quant-cache=kept", "--cache-clear")[0]) == NOTHING
    assert (repo.path / "kept" / "notes.txt").exists()


def test_a_changed_model_is_built_anew(repo):
    rows_of(repo)
    repo.makeconftest(CONFTEST.replace("return self.body(x)", "return self.body(x) * 1.0"))
    assert old(rows_of(repo)[0]) == NOTHING


def test_a_helper_that_is_loaded_counts_and_a_test_file_does_not(repo):
    repo.makepyfile(helper="VALUE = 1\n")
    repo.makeconftest("import helper\n" + CONFTEST)
    rows_of(repo)
    repo.makepyfile(test_other="def test_other():\n    pass\n")
    assert old(rows_of(repo, passed=4)[0]) == ALL
    repo.makepyfile(helper="VALUE = 2\n")
    assert old(rows_of(repo, passed=4)[0]) == NOTHING


REFLECTED = """
import {module}

@pytest.fixture(scope="session")
def quant_metric():
    def hits(outputs, targets):
        return getattr({module}, "by")((outputs.argmax(1) == targets).float().tolist())
    return hits
"""


def test_a_module_that_is_searched_for_doctests_counts_still(repo):
    repo.makeini("[pytest]\naddopts = --doctest-modules")
    repo.makepyfile(helper="def by(hits):\n    return hits\n")
    repo.makeconftest(CONFTEST + REFLECTED.format(module="helper"))
    rows_of(repo)
    assert old(rows_of(repo)[0]) == ALL
    repo.makepyfile(helper="def by(hits):\n    return [hit / 2 for hit in hits]\n")
    assert old(rows_of(repo)[0]) == NOTHING


def test_a_conftest_counts_that_another_one_has_taken_the_place_of(repo):
    own = """
@pytest.fixture(scope="session")
def quant_metric():
    def hits(outputs, targets):
        return (getattr(Ways(), "by_" + str(targets.dim()))(outputs.argmax(1) == targets)).tolist()
    return hits

class Ways:
    def __getattr__(self, name):
        import inspect
        return inspect.currentframe().f_globals["".join(["sca", "led"])]

def scaled(hits):
    return hits.float() * {value}
"""
    folder = repo.mkdir("more")
    (folder / "conftest.py").write_text("")
    (folder / "test_more.py").write_text("def test_more():\n    pass\n")
    for value, is_anew in ((1, True), (1, False), (0.5, True)):
        repo.makeconftest(CONFTEST + own.format(value=value))
        rows, _ = rows_of(repo, passed=4)
        assert (rows["fp32"]["from_cache"] == []) is is_anew


def test_what_a_test_file_has_beside_its_tests_counts_where_a_model_uses_some_of_it(repo):
    own = """
import pytest

def by(hits):
    return eval("scaled")(hits)

def scaled(hits):
    return [{value} * hit for hit in hits]

@pytest.fixture(scope="session")
def quant_metric():
    def hits(outputs, targets):
        return by((outputs.argmax(1) == targets).float().tolist())
    return hits
"""
    scored_anew = {name: ("build",) if name != "fp32" else () for name in ALL}
    for value, limit, kept in ((1, 0.5, NOTHING), (1, 0.4, ALL), (0.5, 0.4, scored_anew)):
        repo.makepyfile(test_gates=own.format(value=value) + GATES.format(limit=limit))
        assert old(rows_of(repo)[0]) == kept


def test_what_is_not_kept_has_its_reason_below_the_durations(repo):
    repo.makeconftest(
        CONFTEST
        + """

@pytest.fixture(scope="session")
def quant_train():
    def train(model):
        step = torch.optim.SGD(model.parameters(), lr=1e-3)
        for x, y in batches(3):
            step.zero_grad()
            torch.nn.functional.cross_entropy(model(x), y).backward()
            step.step()
    return train
"""
    )
    rows_of(repo)
    rows, result = rows_of(repo, "--quant-durations")
    assert rows["qat"]["from_cache"] == []
    said = re.sub(r"\s+", " ", result.stdout.str())
    assert "not in the cache: qat, build: quant_train is code of yours" in said
    assert old(rows) == {**ALL, "qat": ()}


def test_a_failed_gate_has_the_same_cause_from_the_cache(repo):
    coarse = "quant_variant", '[("coarse", Recipe("static", observer="minmax"))], indirect=True'
    repo.makeconftest(
        CONFTEST.replace("return batches(2)", "return [(x * 40, y) for x, y in batches(2)]")
    )
    repo.makepyfile(
        test_gates=f"""
import pytest
from pytest_quant import Recipe, assert_max_accuracy_drop

@pytest.mark.parametrize({coarse[0]!r}, {coarse[1]})
def test_coarse(quant_variant):
    assert_max_accuracy_drop(quant_variant, 0.0)
"""
    )
    said = []
    for expected in ((), ("build", "evaluation")):
        result = repo.runpytest_inprocess("--quant", "--quant-report=r", "-p", "no:randomly")
        result.assert_outcomes(failed=1)
        rows = json.loads((repo.path / "r" / "report.json").read_text())["rows"]
        assert {tuple(row["from_cache"]) for row in rows if row["variant"] != "fp32"} == {expected}
        text = result.stdout.str()
        said.append(text[text.index("FAILURES") : text.index("= quantization =")])
    assert said[0] == said[1]
    assert "Calibration inputs span" in said[0]
    notes = [row["notes"] for row in rows if row["variant"] == "coarse"]
    assert "ERROR" not in str(notes)  # of the flows that were weighed


def test_an_unwritable_folder_is_a_usage_error(repo):
    (repo.path / "kept").write_text("a file")
    result = repo.runpytest_inprocess("--quant", "--quant-cache=kept")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*quant_cache: cannot write to *kept*"])


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--no-quant-cache",)])
def test_workers_build_and_evaluate_each_variant_once(repo, options):
    """Also without a cache: then in a folder that ends with the run."""
    counted = repo.mkdir("counted")
    repo.makepyfile(
        test_gates=GATES.format(limit=0.5),
        test_more=GATES.format(limit=0.4),
        sitecustomize=f"""
import pytest_quant.quantize.build as room
real = room.build
def build(admitted, recipe, conditions):
    import os
    name = recipe.kind if admitted.subject.qat_state is None else "restored"
    open(os.path.join({str(counted)!r}, f"{{name}}-{{os.urandom(4).hex()}}"), "w").close()
    return real(admitted, recipe, conditions)
room.build = build
import pytest_quant.store.open as opened
opened.build = build
""",
    )
    repo.makeconftest("import sitecustomize_here\n" + CONFTEST)
    (repo.path / "sitecustomize.py").rename(repo.path / "sitecustomize_here.py")
    result = repo.runpytest_subprocess("--quant", "-n", "2", "--dist=each", *options)
    assert result.ret == 0
    names = sorted(path.name.split("-")[0] for path in counted.iterdir())
    assert [name for name in names if name != "restored"] == ["dynamic", "qat", "static"]
