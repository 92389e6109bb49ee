"""Every pytest run on the machine imports this package, so it may not cost anybody anything."""

import subprocess
import sys

import pytest

import pytest_quant

HEAVY = ("torch", "numpy", "pandas", "tabulate", "tqdm", "filelock", "torchvision", "scipy")
ON_START = ("fixtures", "hooks", "hookspecs", "option_clashes", "options")


def python(*arguments):
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)
    return done.stdout, done.stderr


@pytest.mark.parametrize(
    "module", ["pytest_quant", "pytest_quant.plugin.hooks", "pytest_quant.plugin.fixtures"]
)
def test_importing_it_loads_nothing_heavy(module):
    loaded, _ = python("-c", f"import sys, {module}; print(*sys.modules)")
    assert module in loaded.split()
    assert {name.split(".")[0] for name in loaded.split()}.isdisjoint(HEAVY)


def test_the_import_log_shows_nothing_heavy():
    _, log = python("-X", "importtime", "-c", "import pytest_quant.plugin.hooks")
    imported = [line.rsplit("|", 1)[1].strip() for line in log.splitlines() if "|" in line]
    assert "pytest_quant.plugin.hooks" in imported
    assert {name.split(".")[0] for name in imported}.isdisjoint(HEAVY)


def test_a_run_without_quant_imports_a_handful_of_modules(tmp_path):
    (tmp_path / "test_it.py").write_text("def test_it(tmp_path): pass")
    _, log = python(
        "-X", "importtime", "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)
    )
    imported = {line.rsplit("|", 1)[1].strip() for line in log.splitlines() if "|" in line}
    ours = {name for name in imported if name.startswith("pytest_quant.")}
    assert "pytest_quant.plugin.options" in ours
    assert ours <= {
        "pytest_quant.errors",
        "pytest_quant.judge",
        "pytest_quant.judge.limits",
        *(f"pytest_quant.plugin.{name}" for name in ON_START),
    }


def test_asking_for_what_it_offers_loads_nothing_heavy():
    loaded, _ = python("-c", "import sys, pytest_quant; dir(pytest_quant); print(*sys.modules)")
    assert {name.split(".")[0] for name in loaded.split()}.isdisjoint(HEAVY)


@pytest.mark.parametrize("name", pytest_quant.__all__)
def test_each_public_name_is_found_where_it_lives(name):
    assert getattr(pytest_quant, name).__name__ in (name, f"pytest_quant.{name}")
    assert callable(getattr(pytest_quant, name))
    assert name in dir(pytest_quant)


@pytest.mark.parametrize(
    "before",
    ["", "import pytest_quant.explain.causes", "from pytest_quant import mend; mend.__name__"],
)
def test_explain_can_be_called_whatever_was_imported_before(before):
    said, _ = python("-c", f"{before}\nfrom pytest_quant import explain\n"
                     "try: explain(3)\nexcept TypeError as error: print(error)")  # fmt: skip
    assert said.strip() == "explain was given 3; expected a quantized Variant"


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'pytest_quant' has no attribute 'assert_all'"):
        pytest_quant.assert_all  # noqa: B018
