"""Inputs of every scope, with parameters and without: which variants they make, what is noted, freed."""

import json

import pytest
from toyrepo import CONFTEST, RERUN

# Something that a digest cannot tell from another one, as a file or a lock is.
OPAQUE = """
import threading
import weakref

import pytest
import torch
from conftest import batches
from pytest_quant import Metric, assert_max_accuracy_drop, assert_max_size

def model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(8, 3)).eval()


BUILT = []  # weak references to every variant that a test has got


def built(variant):
    if all(known() is not variant for known in BUILT):
        BUILT.append(weakref.ref(variant))
    return len(BUILT)


def alive():
    import gc
    gc.collect()
    return sum(known() is not None for known in BUILT)


class Opaque(list):
    def __init__(self, batches):
        super().__init__(batches)
        self.lock = threading.Lock()

    def __deepcopy__(self, memo):
        return self
"""
# fixture -> what it returns, the variant that depends on it, and whether that is all that does
GIVEN = {
    "quant_model": ("model()", "dynamic", False),
    "quant_eval_data": ("batches(1)", "dynamic", False),
    "quant_metric": ("lambda outputs, targets: outputs.argmax(1) == targets", "static", False),
    "quant_batch": ("lambda batch: batch", "dynamic", False),
    "quant_forward": ("lambda model, inputs: model(inputs)", "dynamic", False),
    "quant_latency_inputs": ("batches(4)[0][0]", "dynamic", False),
    "quant_slices": ("lambda inputs, targets: targets % 2", "dynamic", False),
    "quant_calibration_data": ("batches(3)", "static", True),
    "quant_train_data": ("batches(2)", "qat", True),
    "quant_loss": ("torch.nn.functional.cross_entropy", "qat", True),
    "quant_train": (
        "lambda m: [(m(x), [p.data.mul_(0.9) for p in m.parameters()]) for x, _ in batches(2)] and None",
        "qat",
        True,
    ),
}


@pytest.fixture
def repo(pytester):
    pytester.makeconftest(CONFTEST)
    pytester.syspathinsert()
    return pytester


def rows_of(repo):
    return json.loads((repo.path / "out" / "report.json").read_text())["rows"]


def run(repo, tests, *arguments, **outcomes):
    repo.makepyfile(OPAQUE + tests)
    result = repo.runpytest("--quant", "--quant-report=out", *arguments)
    result.assert_outcomes(**outcomes)
    return result


@pytest.mark.parametrize("name", ["quant_model", "quant_loss", "quant_train"])
def test_a_function_scoped_input_is_noted_once_on_what_it_costs(repo, name):
    value, kind, only = GIVEN[name]
    run(
        repo,
        f"""
@pytest.fixture
def {name}():
    return {value}

@pytest.mark.parametrize("i", range(3))
def test_it(quant_{kind}, i):
    assert built(quant_{kind}) == 1  # the values are equal
""",
        passed=3,
    )
    notes = {row["variant"]: row["notes"] for row in rows_of(repo)}
    found = [
        (variant, note) for variant in notes for note in notes[variant] if "function-scoped" in note
    ]
    assert found == [
        (
            kind if only else "fp32",
            f"{name} is function-scoped, so it is created again and compared for each test; give it "
            "scope='session'",
        )
    ]


@pytest.mark.parametrize(
    ("name", "value", "kind", "noted", "what"),
    [
        ("quant_train_data", "Opaque(batches(2))", "static", "static", "static"),
        ("quant_train_data", "Opaque(batches(2))", "qat", "qat", "qat"),
        ("quant_latency_inputs", "Opaque(batches(1)[0][0])", "static", "fp32", "variants"),
    ],
)
def test_a_function_scoped_input_that_cannot_be_compared_builds_anew_and_frees_what_was(
    repo, name, value, kind, noted, what
):
    run(
        repo,
        f"""
@pytest.fixture
def {name}():
    return {value}

@pytest.mark.parametrize("i", range(4))
def test_it(quant_{kind}, i):
    assert built(quant_{kind}) == i + 1
    assert alive() <= 2
""",
        passed=4,
    )
    notes = {row["variant"]: row["notes"] for row in rows_of(repo)}
    sentence = (
        f"{name} is function-scoped, so each test builds its own {what}; give it scope='session'"
    )
    assert sentence in notes[noted]


def test_of_function_scoped_values_that_differ_the_last_one_is_kept(repo):
    run(
        repo,
        """
seeds = iter(range(3, 99))

@pytest.fixture
def quant_calibration_data():
    return batches(next(seeds))

@pytest.mark.parametrize("i", range(4))
def test_it(quant_static, i):
    assert built(quant_static) == i + 1
    assert alive() <= 2
""",
        passed=4,
    )
    notes = [row["notes"] for row in rows_of(repo) if row["variant"] == "static"]
    assert len(notes) == 4
    sentence = "quant_calibration_data is function-scoped, so each test builds its own static; give"
    assert all(any(note.startswith(sentence) for note in each) for each in notes[1:])


def test_of_a_function_scoped_input_with_parameters_each_is_built_once(repo):
    run(
        repo,
        """
@pytest.fixture(params=[16, 64])
def quant_calibration_data(request):
    return batches(3, request.param)

def test_one(quant_static): assert built(quant_static) <= 2

def test_other(quant_static): assert built(quant_static) <= 2
""",
        passed=4,
    )


def test_an_input_that_depends_on_a_function_scoped_one_is_noted_too(repo):
    run(
        repo,
        """
@pytest.fixture
def quant_eval_data():
    return Opaque(batches(1))

@pytest.fixture
def quant_calibration_data(quant_eval_data, tmp_path):
    return Opaque((x + 0.01, y) for x, y in quant_eval_data)

@pytest.mark.parametrize("i", range(4))
def test_it(quant_static, i):
    assert built(quant_static) == i + 1
    assert alive() <= 2
""",
        passed=4,
    )
    notes = {row["variant"]: row["notes"] for row in rows_of(repo)}
    assert any(note.startswith("quant_eval_data is function-scoped") for note in notes["fp32"])
    assert any(
        note.startswith("quant_calibration_data is function-scoped") for note in notes["static"]
    )


@pytest.mark.parametrize(
    ("name", "scope"),
    [
        ("quant_calibration_data", "class"),
        ("quant_metric", "module"),
        ("quant_eval_data", "package"),
        ("quant_batch", "session"),
    ],
)
def test_a_wider_scope_is_neither_noted_nor_built_anew(repo, name, scope):
    run(
        repo,
        f"""
@pytest.fixture(scope="{scope}")
def {name}():
    return {GIVEN[name][0]}

class TestIt:
    @pytest.mark.parametrize("i", range(3))
    def test_it(self, quant_static, i):
        assert built(quant_static) == 1
""",
        passed=3,
    )
    assert not any("scoped" in note for row in rows_of(repo) for note in row["notes"])


def test_what_a_class_or_module_has_made_of_its_own_is_freed_after_it(repo):
    run(
        repo,
        """
@pytest.fixture(scope="class")
def quant_calibration_data():
    return batches(3)

class TestOne:
    def test_it(self, quant_static):
        assert built(quant_static) == 1

class TestOther:
    def test_it(self, quant_static):
        assert built(quant_static) == 2
        assert alive() == 1
""",
        passed=2,
    )


def test_our_fixtures_have_the_scope_that_the_note_advises(pytester):
    result = pytester.runpytest("--fixtures", "-v")
    for name in GIVEN:
        result.stdout.fnmatch_lines([f"{name} ?session scope? *"])


# parameters


def test_a_metric_may_have_parameters(repo):
    run(
        repo,
        """
@pytest.fixture(scope="session", params=[1, 2], ids=["first", "second"])
def quant_metric(request):
    return Metric.top_k(request.param)

@pytest.mark.parametrize("i", range(2))
def test_it(quant_static, i, quant_metric):
    assert quant_static.subject.metric is quant_metric
    assert built(quant_static) <= 2
    assert alive() == 1
    assert_max_accuracy_drop(quant_static, 0.5)
""",
        passed=4,
    )
    rows = rows_of(repo)
    assert {(row["model_ids"], row["variant"], row["metrics"][0]["name"]) for row in rows} == {
        (ids, variant, metric)
        for ids, metric in (("first", "top-1"), ("second", "top-2"))
        for variant in ("fp32", "static")
    }


@pytest.mark.parametrize("kind", ["static", "qat"])
def test_data_for_tuning_may_have_parameters(repo, kind):
    name = {"static": "quant_calibration_data", "qat": "quant_train_data"}[kind]
    run(
        repo,
        f"""
@pytest.fixture(scope="session", params=[16, 64])
def {name}(request):
    return batches(3, request.param)

@pytest.mark.parametrize("i", range(2))
def test_it(quant_{kind}, i, {name}):
    assert quant_{kind}.subject.{name.removeprefix("quant_")} is {name}
    assert built(quant_{kind}) <= 2

def test_dynamic(quant_dynamic):
    pass
""",
        passed=5,
    )
    ids = [row["variant_ids"].split("-")[0] for row in rows_of(repo) if row["variant"] == kind]
    assert sorted(ids) == ["16", "64"]
    assert len(rows_of(repo)) == 4  # FP32 and dynamic do not depend on it


def test_training_data_with_parameters_is_the_calibration_data_of_static_too(repo):
    run(
        repo,
        """
@pytest.fixture(scope="session", params=[16, 64])
def quant_train_data(request):
    return batches(3, request.param)

def test_it(quant_static, quant_train_data):
    assert quant_static.subject.train_data is quant_train_data
""",
        passed=2,
    )


@pytest.mark.parametrize("name", ["quant_eval_data", "quant_forward", "quant_batch"])
def test_what_every_variant_needs_may_have_parameters_for_quant_variant_too(repo, name):
    run(
        repo,
        f"""
@pytest.fixture(scope="session", params=["a", "b"])
def {name}(request):
    return {GIVEN[name][0]}

def test_it(quant_variant):
    pass
""",
        passed=6,
    )
    assert {row["model_ids"] for row in rows_of(repo)} == {"a", "b"}


def test_calibration_data_with_parameters_is_refused_for_quant_variant_in_a_sentence(repo):
    result = run(
        repo,
        """
@pytest.fixture(scope="session", params=[16, 64])
def quant_calibration_data(request):
    return batches(3, request.param)

def test_it(quant_variant):
    assert_max_size(quant_variant, ratio=0.99)
""",
        passed=2,
        errors=1,
    )
    sentence = "fixture ERROR: quant_calibration_data is parametrized, which neither quant_variant*"
    result.stdout.fnmatch_lines([f"E *{sentence}quant_static*"])
    result.stdout.fnmatch_lines(["Sequential * static *ERROR", f"Sequential static: {sentence}"])
    assert "has no parameter defined" not in result.stdout.str()


# inputs that raise

RAISES = """
@pytest.fixture(scope="{scope}")
def {name}():
    raise OSError("no such file")
"""


@pytest.mark.parametrize("scope", ["session", "function"])
@pytest.mark.parametrize("name", ["quant_eval_data", "quant_metric", "quant_latency_inputs"])
def test_an_input_that_raises_is_a_row_of_each_variant_that_was_asked_for(repo, name, scope):
    result = run(
        repo,
        RAISES.format(name=name, scope=scope)
        + """
def test_static(quant_static): pass

def test_dynamic(quant_dynamic): pass

def test_each(quant_variant): pass

def test_of_no_variant(): pass
""",
        passed=1,
        errors=5,
    )
    sentence = f"fixture ERROR: {name} raised OSError: no such file"
    found = [(row["where"], row["model"], row["variant"], row["error"]) for row in rows_of(repo)]
    kinds = ("static", "dynamic", "qat")
    assert sorted(found) == sorted(("", "Sequential", kind, sentence) for kind in kinds)
    result.stdout.fnmatch_lines([f"E *{sentence}", "Sequential * static *ERROR"])


@pytest.mark.parametrize("name", ["quant_calibration_data", "quant_train_data"])
def test_tuning_data_that_raises_is_a_row_of_each_variant_that_needs_it(repo, name):
    run(
        repo,
        RAISES.format(name=name, scope="session")
        + """
@pytest.mark.parametrize("i", range(2))
def test_static(quant_static, i): pass

def test_three(quant_fp32, quant_dynamic, quant_static): pass

def test_each(quant_variant): pass
""",
        **(
            {"passed": 1, "errors": 5} if name == "quant_train_data" else {"passed": 2, "errors": 4}
        ),
    )
    failed = {row["variant"] for row in rows_of(repo) if row["error"]}
    assert failed == ({"static", "qat"} if name == "quant_train_data" else {"static"})


def test_an_input_of_a_parametrized_model_that_raises_is_a_row_of_each(repo):
    run(
        repo,
        RAISES.format(name="quant_metric", scope="session")
        + """
@pytest.fixture(scope="session", params=["small", "large"])
def quant_model(request):
    return model()

def test_it(quant_dynamic): pass
""",
        errors=2,
    )
    assert {(row["model"], row["variant"]) for row in rows_of(repo)} == {
        ("small", "dynamic"), ("large", "dynamic"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("quant_eval_data", "dynamic"),
        ("quant_metric", "static"),
        ("quant_calibration_data", "static"),
        ("quant_train_data", "qat"),
    ],
)
def test_a_flaky_input_is_set_up_anew_when_its_test_is_run_again(repo, name, kind):
    repo.makeconftest(CONFTEST + RERUN)
    run(
        repo,
        f"""
tries = []

@pytest.fixture(scope="session")
def {name}():
    tries.append(1)
    if len(tries) == 1:
        raise OSError("connection reset")
    return {GIVEN[name][0]}

def test_it(quant_{kind}):
    assert_max_size(quant_{kind}, ratio=0.99)
""",
        passed=1,
    )
    assert [row["error"] for row in rows_of(repo)] == [None, None]
