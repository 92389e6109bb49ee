"""Look items: of one model each kind and each recipe of its own, built and measured in place of a test."""

from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from pytest_quant.errors import NothingToQuantizeError
from pytest_quant.judge import recorder
from pytest_quant.judge.loose_limits import loose_limits
from pytest_quant.plugin.fixtures import RUN
from pytest_quant.plugin.measuring import measure_all
from pytest_quant.plugin.recipes import own_recipes
from pytest_quant.subject.inputs import CALIBRATION, TRAINING
from pytest_quant.variant.recipe import FIXTURE_KINDS

if TYPE_CHECKING:
    from pytest_quant.variant.variant import Variant

PREFIX = "look_at_"
SEEN = pytest.StashKey[dict[str, Any]]()  # what a look saw, as first_tests takes it


class Looks(pytest.Module):
    """The looks of one place."""

    def istestfunction(self, obj: object, name: str) -> bool:
        """Whatever the repo's tests are called."""
        return name.startswith(PREFIX)

    def istestclass(self, obj: object, name: str) -> bool:
        """There is none."""
        return False


def looks_in(node: pytest.Collector) -> list[pytest.Item]:
    """The looks of the model that tests in a folder or test file see."""
    path = node.path if isinstance(node, pytest.File) else node.path / "conftest.py"
    looks = Looks.from_parent(node, path=path)
    looks.obj = _functions([*own_recipes(node.ihook, node.config)])
    return [*node.session.genitems(looks)]


def target_of(item: pytest.Item) -> tuple[str, str | None]:
    """The fixture that a look, and so a test in its place, asks for, and the recipe's name for it."""
    function = getattr(item, "originalname", None) or item.name
    if function != _RECIPE:
        return f"quant_{function.removeprefix(PREFIX)}", None
    return "quant_variant", str(item.callspec.params["quant_variant"])  # type: ignore[attr-defined]


_RECIPE = f"{PREFIX}recipe"


def _functions(recipes: list[str]) -> ModuleType:
    """The looks, as a module of tests would hold them."""
    module = ModuleType("quant_looks")
    for look in (look_at_dynamic, look_at_static, look_at_qat):
        setattr(module, look.__name__, look)
    if own := [name for name in recipes if name not in FIXTURE_KINDS]:
        parametrize = pytest.mark.parametrize("quant_variant", own, indirect=True)

        @parametrize
        def look_at_recipe(request: pytest.FixtureRequest, quant_variant: Any) -> None:
            _look(request, quant_variant)

        setattr(module, _RECIPE, look_at_recipe)
    return module


# Each names the inputs of its variant, so that a parameter of these reaches it, and asks for the variant
# itself only when they are there.


def look_at_dynamic(request: pytest.FixtureRequest, _quant_dynamic_inputs: Any) -> None:
    """Build and measure the dynamic variant."""
    try:
        variant = request.getfixturevalue("quant_dynamic")
    except NothingToQuantizeError as error:
        pytest.skip(error.sentence)
    _look(request, variant)


def look_at_static(
    request: pytest.FixtureRequest,
    _quant_static_inputs: Any,
    quant_calibration_data: Any,
    quant_train_data: Any,
) -> None:
    """Build and measure the static variant, where there is something to calibrate it on."""
    if quant_calibration_data is None and quant_train_data is None:
        pytest.skip(f"neither {CALIBRATION} nor {TRAINING} is overridden")
    _look(request, request.getfixturevalue("quant_static"))


def look_at_qat(
    request: pytest.FixtureRequest, _quant_qat_inputs: Any, quant_train_data: Any, quant_train: Any
) -> None:
    """Build and measure the QAT variant, where there is something to train it on."""
    if quant_train_data is None and quant_train is None:
        pytest.skip(f"neither {TRAINING} nor quant_train is overridden")
    _look(request, request.getfixturevalue("quant_qat"))


def _look(request: pytest.FixtureRequest, variant: "Variant") -> None:
    __tracebackhide__ = True
    run = request.config.stash[RUN]
    measure_all(variant.fp32, run.conditions)
    measure_all(variant, run.conditions)
    test = recorder.current()
    stated = {name: gate.limit for name, gate in test.gates.items() if gate.limit is not None}
    request.node.stash[SEEN] = loose_limits(variant, {**stated, **test.limits}).to_dict()
