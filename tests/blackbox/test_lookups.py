"""Each test gates its own model, and each variant is built once, whatever the order of tests."""

import json

import pytest

TOYS = """
import pathlib
import torch

LOG = pathlib.Path(__file__).parent / "log.txt"


def log(word):
    with LOG.open("a") as file:
        file.write(word + "\\n")


def linear(tag, seed=0):
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
    model.tag = tag
    return model.eval()


class Batches(list):
    def __init__(self, word, seed):
        x = torch.randn(64, 8, generator=torch.Generator().manual_seed(seed))
        super().__init__(zip(x.split(16), x[:, :3].argmax(1).split(16)))
        self.word = word

    def __iter__(self):
        log(self.word)
        return super().__iter__()
"""
CONFTEST = """
import pytest
import torch
from toys import Batches, linear, log


@pytest.fixture(scope="session")
def quant_model():
    log("model")
    return linear("root")


@pytest.fixture(scope="session")
def quant_eval_data():
    return Batches("eval", 1)


@pytest.fixture(scope="session")
def quant_calibration_data():
    return Batches("calibrate", 2)


@pytest.fixture(scope="session")
def quant_train():
    batches = Batches("qat", 3)

    def train(model):
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        for x, y in batches:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()

    return train
"""


@pytest.fixture
def repo(pytester):
    pytester.makepyfile(toys=TOYS)
    pytester.makeconftest(CONFTEST)
    # what compares calibration with eval inputs reads both once more
    pytester.makeini("[pytest]\nquant_calibration_shift = off\n")
    pytester.syspathinsert()
    return pytester


def logged(repo, word):
    return (repo.path / "log.txt").read_text().split().count(word)


def test_each_variant_is_built_once_and_evaluated_once(repo):
    repo.makepyfile(
        test_gates="""
        import pytest
        from pytest_quant import assert_max_accuracy_drop, assert_max_flips, assert_max_size

        @pytest.mark.parametrize("i", range(3))
        def test_static(quant_static, i):
            assert_max_accuracy_drop(quant_static, 0.9)
            assert_max_flips(quant_static, 0.9)

        @pytest.mark.parametrize("i", range(3))
        def test_qat(quant_qat, i):
            assert_max_accuracy_drop(quant_qat, 0.9)

        def test_variant(quant_variant):
            assert_max_accuracy_drop(quant_variant, 0.9)
        """
    )
    repo.runpytest("--quant", "--no-quant-cache").assert_outcomes(passed=9)
    assert logged(repo, "model") == 1
    assert logged(repo, "calibrate") == 1
    assert logged(repo, "qat") == 1
    # the door looks at the first batch; then FP32, dynamic, static, QAT, and QAT before conversion
    assert logged(repo, "eval") == 1 + 5


def test_a_test_that_asks_for_size_alone_never_evaluates(repo):
    repo.makepyfile(
        """
        from pytest_quant import assert_max_size

        def test_size(quant_dynamic):
            assert_max_size(quant_dynamic, ratio=0.9)
        """
    )
    repo.runpytest("--quant", "--no-quant-cache").assert_outcomes(passed=1)
    assert logged(repo, "eval") == 1  # the door


def test_a_failed_build_is_not_repeated(repo):
    repo.makepyfile(
        """
        import pytest

        @pytest.fixture(scope="session")
        def quant_train():
            def train(model):
                from toys import log
                log("broken")
                raise RuntimeError("out of luck")
            return train

        @pytest.mark.parametrize("i", range(3))
        def test_qat(quant_qat, i):
            pass

        def test_dynamic(quant_dynamic):
            pass
        """
    )
    result = repo.runpytest("--quant", "--no-quant-cache", "-p", "no:randomly")
    result.assert_outcomes(errors=3, passed=1)
    result.stdout.fnmatch_lines(["*train ERROR: quant_train raised: RuntimeError: out of luck*"])
    assert logged(repo, "broken") == 1


FOLDER = """
import pytest
from toys import linear, log

@pytest.fixture(scope="session")
def quant_model():
    log("model-{0}")
    return linear("{0}", seed={1})
"""
GATES = """
import pytest
from pytest_quant import assert_max_accuracy_drop

@pytest.mark.parametrize("i", range(2))
def test_static(quant_static, i):
    assert quant_static.fp32.model.tag == "{0}"
    assert_max_accuracy_drop(quant_static, 0.9)

def test_dynamic(quant_dynamic):
    assert quant_dynamic.fp32.model.tag == "{0}"
"""
SHUFFLE = """
import pytest

@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: (item.name, item.nodeid))  # models alternate
"""


@pytest.mark.parametrize("order", ["as collected", "alternating"])
def test_two_folders_each_gate_their_own_model(repo, order):
    for tag, seed in (("a", 1), ("b", 2)):
        folder = repo.mkdir(tag)
        (folder / "conftest.py").write_text(FOLDER.format(tag, seed))
        (folder / f"test_{tag}.py").write_text(GATES.format(tag))
    if order == "alternating":
        repo.makepyfile(shuffle=SHUFFLE)
    plugins = ("-p", "shuffle") if order == "alternating" else ()
    result = repo.runpytest("--quant", "--no-quant-cache", *plugins)
    result.assert_outcomes(passed=6)
    result.stdout.fnmatch_lines(["Sequential (a)*fp32*", "Sequential (b)*fp32*"])
    assert logged(repo, "calibrate") == 2
    assert logged(repo, "model-a") == logged(repo, "model-b") == 1


def test_a_module_and_a_class_may_have_their_own_model(repo):
    repo.makepyfile(test_root=GATES.format("root"))
    repo.makepyfile(test_module=FOLDER.format("module", 3) + GATES.format("module"))
    class_body = "\n".join(
        "    " + line
        for line in """
@pytest.fixture(scope="class")
def quant_model(self):
    from toys import linear
    return linear("class", seed=4)

def test_static(self, quant_static):
    assert quant_static.fp32.model.tag == "class"
""".splitlines()
    )
    repo.makepyfile(
        test_class=f"import pytest\n\nclass TestOwn:\n{class_body}\n" + GATES.format("root")
    )
    result = repo.runpytest("--quant", "--no-quant-cache")
    result.assert_outcomes(passed=10)
    assert logged(repo, "calibrate") == 3
    result.stdout.fnmatch_lines_random(
        ["Sequential  *static*", "Sequential (test_module.py)*", "Sequential (*::TestOwn)*"]
    )


def test_one_model_with_two_eval_sets_has_two_rows(repo):
    for tag, seed in (("a", 11), ("b", 12)):
        folder = repo.mkdir(tag)
        (folder / "conftest.py").write_text(
            f"""
import pytest
from toys import Batches

@pytest.fixture(scope="session")
def quant_eval_data():
    return Batches("eval-{tag}", {seed})[:{seed - 9}]
"""
        )
        (folder / f"test_{tag}.py").write_text(
            """
from pytest_quant import assert_max_accuracy_drop

def test_drop(quant_dynamic):
    assert_max_accuracy_drop(quant_dynamic, 0.9)
"""
        )
    (repo.path / "b" / "test_more.py").write_text(
        """
import pytest
from toys import Batches

@pytest.fixture(scope="session")
def quant_calibration_data():
    return Batches("calibrate-b", 13)

def test_size(quant_static):
    from pytest_quant import assert_max_size
    assert_max_size(quant_static, ratio=0.9)
"""
    )
    result = repo.runpytest("--quant", "--no-quant-cache", "--quant-report=out")
    result.assert_outcomes(passed=3)
    rows = json.loads((repo.path / "out" / "report.json").read_text())["rows"]
    seen = {(row["where"], row["variant"]): row["metrics"] for row in rows}
    assert seen[("a", "dynamic")][0]["samples"] == 32
    assert seen[("b", "dynamic")][0]["samples"] == 48
    assert set(seen) == {
        ("a", "fp32"), ("a", "dynamic"), ("b", "fp32"), ("b", "dynamic"), ("b", "static"),
    }  # fmt: skip
    assert [row["variant_ids"] for row in rows if row["variant"] == "static"] == ["b/test_more.py"]


def test_parametrized_models_have_the_names_of_their_parameters(repo):
    repo.makepyfile(
        """
        import pytest
        from toys import linear

        @pytest.fixture(scope="session", params=["small", "large"])
        def quant_model(request):
            return linear(request.param, seed=len(request.param))

        def test_static(quant_static, request):
            assert quant_static.fp32.model.tag in request.node.name

        def test_dynamic(quant_dynamic, request):
            assert quant_dynamic.fp32.model.tag in request.node.name
        """
    )
    result = repo.runpytest("--quant", "--no-quant-cache")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines_random(["small * static *", "large * static *"])
    assert logged(repo, "calibrate") == 2


def test_own_recipes_come_by_hook_and_by_parametrization(repo):
    repo.makeconftest(
        CONFTEST
        + """

def pytest_quant_recipes(config):
    from pytest_quant import Recipe
    return {"static-minmax": Recipe("static", observer="minmax")}
"""
    )
    repo.makepyfile(
        """
        import pytest
        from pytest_quant import Recipe, assert_max_accuracy_drop

        def double(module):
            return module.double()

        def test_every(quant_variant):
            assert quant_variant.name in ("dynamic", "static", "qat", "static-minmax")

        @pytest.mark.parametrize(
            "quant_variant",
            [Recipe("static", keep_fp32="2"), Recipe("custom", build=lambda module: module)],
            indirect=True,
        )
        def test_some(quant_variant):
            assert quant_variant.recipe.kind in ("static", "custom")
        """
    )
    result = repo.runpytest("--quant", "--no-quant-cache", "-v")
    result.assert_outcomes(passed=6)
    result.stdout.fnmatch_lines_random(
        [
            "*test_every?static-minmax? PASSED*",
            "Sequential * static(keep_fp32=*",
            "*static-minmax *",
        ]
    )


def test_variants_are_freed_when_their_models_last_test_is_over(repo):
    for tag, seed in (("a", 1), ("b", 2)):
        folder = repo.mkdir(tag)
        (folder / "conftest.py").write_text(FOLDER.format(tag, seed))
    (repo.path / "a" / "test_a.py").write_text(
        """
import weakref
import kept

def test_static(quant_static):
    kept.static = weakref.ref(quant_static)
    kept.module = weakref.ref(quant_static.model)

def test_static_is_still_there(quant_static):
    assert kept.static() is quant_static
"""
    )
    (repo.path / "b" / "test_b.py").write_text(
        """
import gc
import kept

def test_other(quant_static):
    gc.collect()
    assert kept.static() is None
    assert kept.module() is None
"""
    )
    repo.makepyfile(kept="")
    repo.runpytest("--quant", "--no-quant-cache").assert_outcomes(passed=3)


def test_a_function_scoped_model_is_noted(repo):
    repo.makepyfile(
        """
        import pytest
        from toys import linear

        @pytest.fixture
        def quant_model():
            return linear("each")

        def test_one(quant_dynamic): pass
        def test_two(quant_dynamic): pass
        """
    )
    result = repo.runpytest("--quant", "--no-quant-cache")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*quant_model is function-scoped*scope='session'*"])


def test_quant_all_builds_all_kinds_for_each_eval_set_of_a_model(repo):
    for tag, seed in (("a", 11), ("b", 12)):
        folder = repo.mkdir(tag)
        (folder / "conftest.py").write_text(
            f"""
import pytest
from toys import Batches

@pytest.fixture(scope="session")
def quant_eval_data():
    return Batches("eval-{tag}", {seed})
"""
        )
        (folder / f"test_{tag}.py").write_text("def test_fp32(quant_fp32): pass")
    arguments = ("--quant-all", "--quant-timing-seconds=0.01", "--quant-report=out")
    repo.runpytest("--quant", "--no-quant-cache", *arguments).assert_outcomes(passed=2)
    rows = json.loads((repo.path / "out" / "report.json").read_text())["rows"]
    kinds = ("fp32", "dynamic", "static", "qat")
    assert {(row["where"], row["variant"]) for row in rows} == {(w, k) for w in "ab" for k in kinds}


def test_quant_all_builds_and_measures_all_kinds(repo):
    repo.makepyfile("def test_fp32(quant_fp32): pass")
    result = repo.runpytest(
        "--quant", "--no-quant-cache", "--quant-all", "--quant-timing-seconds=0.01"
    )
    result.assert_outcomes(passed=1)
    for kind in ("dynamic", "static", "qat"):
        result.stdout.fnmatch_lines([f"Sequential * {kind} *x *pt *%*x*%*"])
    assert logged(repo, "eval") == 1 + 5
