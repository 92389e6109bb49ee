"""Identity: rows are told apart by the values of their inputs, and named by where these came from."""

import json
from pathlib import Path

import pytest
from toyrepo import CONFTEST

SIZE = """
from pytest_quant import assert_max_size

def test_size(quant_dynamic):
    assert_max_size(quant_dynamic, ratio=0.9)
"""
MODELS = """
import pytest
import torch
from torch import nn


def net(width, name="Net"):
    return type(name, (nn.Sequential,), {{}})(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 3))


class A:
    class Net(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))


class B:
    class Net(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))


{fixture}
"""


@pytest.fixture
def repo(pytester):
    pytester.makeconftest(CONFTEST)
    return pytester


def rows(repo, *arguments, code=0):
    result = repo.runpytest("--quant", "--quant-report=out", *arguments)
    assert result.ret == code, result.stdout.str()
    repo.last = result
    return json.loads((repo.path / "out" / "report.json").read_text())["rows"]


def named(found, variant="fp32"):
    """Model and ids -> bytes, of the rows of a variant."""
    return {
        (row["model"], row.get("model_ids", "")): row["size"]["tensor_bytes"]
        for row in found
        if row["variant"] == variant
    }


@pytest.mark.parametrize(
    ("params", "names"),
    [
        ("[pytest.param(lambda: net(16), id='small'), pytest.param(lambda: net(32), id='large')]",
         ["small", "large"]),
        ("[lambda: net(16), lambda: net(32)]", ["<lambda>0", "<lambda>1"]),
        ("[A.Net, B.Net]", ["{m}.A.Net", "{m}.B.Net"]),
        ("[A.Net, lambda: net(32)]", ["Net", "<lambda>"]),
    ],
)  # fmt: skip
def test_models_by_parameters_of_one_name_are_told_apart(repo, params, names):
    fixture = f"""
@pytest.fixture(scope="session", params={params})
def quant_model(request):
    return request.param().eval()
"""
    path = repo.makepyfile(MODELS.format(fixture=fixture) + SIZE)
    found = named(rows(repo))
    assert [name for name, _ in found] == [name.format(m=path.stem) for name in names]
    assert len(set(found.values())) == 2


def test_subjects_of_one_name_are_told_apart_by_ids(repo):
    fixture = """
from pytest_quant import Subject

@pytest.fixture(scope="session", params=[16, 32])
def quant_model(request):
    return Subject(net(request.param), name="toy")
"""
    repo.makepyfile(MODELS.format(fixture=fixture) + SIZE)
    found = named(rows(repo))
    assert list(found) == [("toy", "16"), ("toy", "32")]
    assert len(set(found.values())) == 2
    repo.last.stdout.fnmatch_lines(["toy[[]16[]] *fp32*", "toy[[]32[]] *fp32*"])


@pytest.mark.parametrize("order", ["['good', 'lossy']", "['lossy', 'good']"])
def test_the_order_of_parameters_decides_nothing(repo, order):
    fixture = f"""
@pytest.fixture(scope="session", params={order})
def width(request):
    return {{"good": 16, "lossy": 32}}[request.param]

@pytest.fixture(scope="session")
def quant_model(width):
    return net(width)
"""
    repo.makepyfile(MODELS.format(fixture=fixture) + SIZE)
    found = named(rows(repo))
    assert found[("good", "")] < found[("lossy", "")]


def test_an_unrelated_parameter_is_in_no_name(repo):
    test = """
import pytest
from pytest_quant import assert_max_size

@pytest.mark.parametrize("limit", [0.9, 0.95])
def test_size(quant_dynamic, limit):
    assert_max_size(quant_dynamic, ratio=limit)
"""
    repo.makepyfile(test)
    assert list(named(rows(repo))) == [("Sequential", "")]


@pytest.mark.parametrize("fixture", ["quant_eval_data", "quant_metric", "quant_latency_inputs"])
def test_another_input_by_parameters_makes_another_row(repo, fixture):
    repo.makepyfile(
        f"""
import pytest
import torch
from conftest import batches
from pytest_quant import Metric, assert_max_accuracy_drop

VALUES = {{
    "quant_eval_data": lambda p: batches(p),
    "quant_metric": lambda p: Metric.top_k(p),
    "quant_latency_inputs": lambda p: torch.zeros(p, 8),
}}

@pytest.fixture(scope="session", params=[1, 2])
def {fixture}(request):
    return VALUES["{fixture}"](request.param)

def test_drop(quant_dynamic):
    assert_max_accuracy_drop(quant_dynamic, 0.5)
"""
    )
    assert list(named(rows(repo))) == [("Sequential", "1"), ("Sequential", "2")]


def test_calibration_data_by_parameters_makes_another_variant_of_one_model(repo):
    repo.makepyfile(
        """
import pytest
from conftest import batches
from pytest_quant import assert_max_accuracy_drop

@pytest.fixture(scope="session", params=["few", "many"])
def quant_calibration_data(request):
    return batches(3, {"few": 16, "many": 64}[request.param])

def test_drop(quant_static):
    assert_max_accuracy_drop(quant_static, 0.5)
"""
    )
    found = rows(repo)
    ids = [row["variant_ids"] for row in found if row["variant"] == "static"]
    assert ids == ["few", "many"]
    assert len(named(found)) == 1
    repo.last.stdout.fnmatch_lines(["*static[[]few[]]*", "*static[[]many[]]*"])


def test_quant_variant_cannot_follow_parametrized_calibration_data_and_says_so(repo):
    repo.makepyfile(
        """
import pytest
from conftest import batches
from pytest_quant import assert_max_size

@pytest.fixture(scope="session", params=[16, 64])
def quant_calibration_data(request):
    return batches(3, request.param)

def test_size(quant_variant):
    assert_max_size(quant_variant, ratio=0.95)
"""
    )
    result = repo.runpytest("--quant", "-k", "static or dynamic")
    result.assert_outcomes(passed=1, errors=1, deselected=1)
    result.stdout.fnmatch_lines(
        ["*quant_calibration_data is parametrized, which neither quant_variant*"]
    )


def test_two_builds_of_one_name_are_two_rows(repo):
    repo.makepyfile(
        """
import functools
import pytest
import torch
from pytest_quant import Recipe, assert_max_size

def build(module, layers):
    return torch.ao.quantization.quantize_dynamic(module, layers, torch.qint8)

RECIPES = [
    Recipe("custom", build=functools.partial(build, layers={"0"})),
    Recipe("custom", build=lambda m: build(m, {"2"})),
    Recipe("custom", build=lambda m: build(m, {"0", "2"})),
]

@pytest.mark.parametrize("quant_variant", RECIPES, indirect=True)
def test_size(quant_variant):
    assert_max_size(quant_variant, ratio=1.0)
"""
    )
    found = [row for row in rows(repo) if row["variant"] != "fp32"]
    assert len({row["size"]["tensor_bytes"] for row in found}) == 3
    assert len({(row["variant"], row["variant_ids"]) for row in found}) == 3
    assert not any("0x" in row["variant"] for row in found)


def folders(repo, **files):
    for name, text in files.items():
        folder = repo.path / name
        folder.mkdir(parents=True)
        (folder / "conftest.py").write_text(text)
        (folder / f"test_{name}.py").write_text(SIZE)


def test_a_folder_does_not_claim_another_whose_name_it_begins(repo):
    folders(
        repo,
        net="import pytest\nfrom conftest import batches\n\n@pytest.fixture(scope='session')\n"
        "def quant_eval_data():\n    return [(x, y * 0) for x, y in __import__('toys').batches(1)]\n",
        network="",
    )
    repo.makepyfile(toys=CONFTEST)
    (repo.path / "net" / "conftest.py").write_text(
        "import pytest\nimport toys\n\n@pytest.fixture(scope='session')\n"
        "def quant_eval_data():\n    return [(x, y * 0) for x, y in toys.batches(1)]\n"
    )
    repo.syspathinsert()
    assert {row["where"] for row in rows(repo)} == {"net", ""}


def test_the_nearer_conftests_recipe_wins_and_both_are_told_apart(repo):
    repo.makeconftest(CONFTEST + "\n\ndef pytest_quant_recipes(config):\n"
                      "    from pytest_quant import Recipe\n"
                      "    return {'ours': Recipe('dynamic')}\n")  # fmt: skip
    test = """
import pytest

@pytest.mark.parametrize("quant_variant", ["ours"], indirect=True)
def test_ours(quant_variant):
    assert list(quant_variant.recipe.keep_fp32) == {kept}
"""
    repo.makepyfile(test_root=test.format(kept=[]))
    folders(repo, sub="def pytest_quant_recipes(config):\n    from pytest_quant import Recipe\n"
            "    return {'ours': Recipe('dynamic', keep_fp32=('2',))}\n")  # fmt: skip
    (repo.path / "sub" / "test_sub.py").write_text(test.format(kept=["2"]))
    ours = [row for row in rows(repo) if row["variant"] == "ours"]
    assert sorted(row.get("variant_ids", "") for row in ours) == ["", "sub"]


def test_a_recipe_of_a_fixtures_name_says_what_the_fixture_is(repo):
    repo.makeconftest(CONFTEST + "\n\ndef pytest_quant_recipes(config):\n"
                      "    from pytest_quant import Recipe\n"
                      "    return {'static': Recipe('static', observer='minmax')}\n")  # fmt: skip
    repo.makepyfile(
        "def test_it(quant_static):\n    assert quant_static.recipe.observer == 'minmax'\n"
    )
    rows(repo)


@pytest.mark.parametrize(("name", "kind"), [("fp32", "dynamic"), ("static", "dynamic")])
def test_a_recipe_that_is_not_what_its_name_says_is_refused(repo, name, kind):
    repo.makeconftest(CONFTEST + "\n\ndef pytest_quant_recipes(config):\n"
                      "    from pytest_quant import Recipe\n"
                      f"    return {{'{name}': Recipe('{kind}')}}\n")  # fmt: skip
    repo.makepyfile(SIZE)
    result = repo.runpytest("--quant", "--quant-variants=dynamic")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*pytest_quant_recipes names a recipe *{name}*"])


SCOPED = """
import weakref
import pytest
import torch
from conftest import batches
from pytest_quant import Metric, assert_max_accuracy_drop

ALIVE = []


class Held:
    '''What no digest can tell from another one: it holds a lock.'''

    def __init__(self, data):
        self.data, self.lock = data, __import__("threading").Lock()

    def __iter__(self):
        return iter(self.data)


@pytest.fixture
def {fixture}():
    return {value}


@pytest.mark.parametrize("i", range(4))
def test_drop({variant}, i):
    if all(known() is not {variant} for known in ALIVE):
        ALIVE.append(weakref.ref({variant}))
    assert sum(known() is not None for known in ALIVE) <= 2
    assert len(ALIVE) <= {builds}
    assert_max_accuracy_drop({variant}, 0.5)
"""


@pytest.mark.parametrize(
    ("fixture", "value", "variant", "builds", "note"),
    [
        (
            "quant_calibration_data",
            "batches(3)",
            "quant_static",
            1,
            "is created again and compared",
        ),
        ("quant_calibration_data", "Held(batches(3))", "quant_static", 4, "builds its own static"),
        ("quant_train_data", "batches(3, 16)", "quant_qat", 1, "is created again and compared"),
        ("quant_metric", "Metric.top_k(1)", "quant_static", 1, "is created again and compared"),
        (
            "quant_metric",
            "lambda o, t: (o.argmax(1) == t).float()",
            "quant_dynamic",
            1,
            "is created again",
        ),
        ("quant_eval_data", "batches(5)", "quant_dynamic", 1, "is created again and compared"),
        ("quant_batch", "lambda batch: batch", "quant_dynamic", 1, "is created again and compared"),
        ("quant_forward", "lambda model, x: model(x)", "quant_dynamic", 1, "is created again"),
        ("quant_latency_inputs", "torch.zeros(3, 8)", "quant_dynamic", 1, "is created again"),
        ("quant_eval_data", "Held(batches(5))", "quant_dynamic", 4, "builds its own variants"),
    ],
)
def test_a_function_scoped_input_is_compared_or_noted_and_nothing_piles_up(
    repo, fixture, value, variant, builds, note
):
    repo.makepyfile(SCOPED.format(fixture=fixture, value=value, variant=variant, builds=builds))
    rows(repo)
    repo.last.assert_outcomes(passed=4)
    repo.last.stdout.fnmatch_lines([f"*: {fixture} is function-scoped, so *{note}*"])


def test_values_of_one_name_that_differ_are_told_apart_by_their_tests(repo):
    repo.makepyfile(
        """
import pytest
import torch
from pytest_quant import assert_max_size

WIDTHS = [16, 32]

@pytest.fixture
def quant_model():
    return torch.nn.Sequential(torch.nn.Linear(8, WIDTHS.pop()), torch.nn.ReLU())

@pytest.mark.parametrize("i", range(2))
def test_size(quant_dynamic, i):
    assert_max_size(quant_dynamic, ratio=0.9)
"""
    )
    found = [row for row in rows(repo) if row["variant"] == "fp32"]
    assert len({row["size"]["tensor_bytes"] for row in found}) == len(found) == 2


def test_only_what_a_kind_needs_is_set_up(repo):
    repo.makepyfile(
        """
import pytest
from pytest_quant import assert_max_size

@pytest.fixture(scope="session")
def quant_calibration_data():
    raise OSError("not mounted")

@pytest.fixture(scope="session")
def quant_train():
    raise OSError("no training here")

def test_dynamic(quant_dynamic):
    assert_max_size(quant_dynamic, ratio=0.9)

def test_static(quant_static):
    pass

def test_qat(quant_qat):
    pass
"""
    )
    found = rows(repo, code=1)
    repo.last.assert_outcomes(passed=1, errors=2)
    errors = {row["variant"]: row["error"] for row in found if row["error"]}
    assert errors == {
        "static": "fixture ERROR: quant_calibration_data raised OSError: not mounted",
        "qat": "fixture ERROR: quant_train raised OSError: no training here",
    }
    assert {row["model"] for row in found} == {"Sequential"}


def test_variants_asked_for_by_name_are_kept_for_the_next_test(repo):
    repo.makepyfile(
        """
import pytest
from pytest_quant import assert_max_size

SEEN = []

@pytest.mark.parametrize("i", range(3))
def test_size(request, i):
    SEEN.append(request.getfixturevalue("quant_dynamic"))
    assert all(variant is SEEN[0] for variant in SEEN)
    assert_max_size(SEEN[0], ratio=0.9)
"""
    )
    rows(repo)
    result = repo.runpytest("--quant", "--quant-variants=static")
    result.assert_outcomes(skipped=3)


@pytest.fixture
def apart(pytester):
    """Two folders with a model each, below nothing that holds them both and pytest's ini file."""
    for name, width in (("a", 8), ("b", 16)):
        folder = pytester.mkdir(name)
        (folder / "conftest.py").write_text(CONFTEST + OF_A_WIDTH.format(width=width))
        (folder / f"test_{name}.py").write_text(SIZE)
    pytester.mkdir("ci").joinpath("other.toml").write_text("[pytest]\n")

    def run(first, *options):
        pytester.makeconftest(
            f"""
            def pytest_collection_modifyitems(items):
                items.sort(key=lambda item: item.path.stem != "test_{first}")
            """
        )
        return pytester.runpytest("--quant", "-c", "ci/other.toml", *options, "a", "b")

    return run


OF_A_WIDTH = """

@pytest.fixture(scope="session")
def width():
    return {width}


@pytest.fixture(scope="session")
def quant_model(width):
    layers = torch.nn.Linear(8, width), torch.nn.Linear(width, 3)
    return torch.nn.Sequential(*layers).eval()
"""


@pytest.mark.parametrize("first", ["a", "b"])
def test_folders_outside_the_rootdir_keep_their_models(apart, first):
    result = apart(first, "--confcutdir=.", "--quant-report=out")
    result.assert_outcomes(passed=2)
    rows = json.loads(Path("out/report.json").read_text())["rows"]
    sizes = {row["where"]: row["size"]["tensor_bytes"] for row in rows if row["variant"] == "fp32"}
    assert sizes.keys() == {"a", "b"}
    assert sizes["b"] > 1.7 * sizes["a"]


@pytest.mark.parametrize("first", ["a", "b"])
def test_where_pytest_cannot_be_told_so_the_rootdir_is_to_be_set(apart, first):
    """Whichever test comes first; the other's model may have no test left that could use it."""
    result = apart(first, "--confcutdir=.", "-p", "no:quant-outside-rootdir")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["*was given quant_model of */b/conftest.py, which does not lie above it*"]
    )
    result = apart(first, "--rootdir=.", "-p", "no:quant-outside-rootdir")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines_random(["Sequential (a) *fp32 *", "Sequential (b) *fp32 *"])
