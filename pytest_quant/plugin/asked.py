"""Asked: what variant a test asks for, of what its parameter and its repo's recipes say."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pytest_quant.errors import terminal_safe
from pytest_quant.judge.asking import Asking
from pytest_quant.plugin.recipes import own_recipes
from pytest_quant.variant.recipe import FIXTURE_KINDS, Recipe


@dataclass(frozen=True, slots=True)
class Asked:
    """What a test asks for.

    Args:
        recipe: of the variant; None for FP32.
        name: of the variant.
        ids: that tell it from another one of its name.
    """

    recipe: Recipe | None
    name: str
    ids: str = ""

    @property
    def kind(self) -> str:
        """Of the recipe; ``fp32`` for FP32."""
        return self.recipe.kind if self.recipe else "fp32"


def asked_for(
    request: pytest.FixtureRequest, param: Any, own: Mapping[str, Recipe], param_id: str | None
) -> Asked:
    """What a fixture asks for.

    Args:
        request: the fixture's.
        param: None for FP32, else a name, a Recipe or (name, Recipe).
        own: the recipes that the test sees, by name.
        param_id: of the parameter.

    Raises:
        TypeError: for another parameter; says what is allowed.
    """
    root = own_recipes(request.session.ihook, request.config)
    if param is None:
        return Asked(None, "fp32")
    if isinstance(param, str) and param in own:
        # a nearer conftest's recipe of a name is another one than the root's
        nearer = param in root and root[param] != own[param]
        place = request.node.path.parent
        return Asked(own[param], param, _relative(place, request.config) if nearer else "")
    if isinstance(param, str) and param in FIXTURE_KINDS:
        return Asked(Recipe(param), param)
    if isinstance(param, tuple) and len(param) == 2 and isinstance(param[1], Recipe):
        return Asked(param[1], str(param[0]))
    if isinstance(param, Recipe):
        # labels tell all recipes apart but those of builds, whose functions may share a name
        return Asked(param, param.label, (param_id or "") if param.build else "")
    raise TypeError(
        f"quant_variant was parametrized with {param!r}; expected "
        f"{terminal_safe(', '.join([*FIXTURE_KINDS, *own]))}, a Recipe or (name, Recipe)"
    )


def asking_of(request: pytest.FixtureRequest, param: Any) -> Asking:
    """How a test asks for a variant.

    Args:
        request: the fixture's.
        param: as `asked_for` takes it.
    """
    path, root = request.node.path, request.config.rootpath
    folders = [path.parent, *path.parent.parents]
    inside = [folder for folder in folders if folder.is_relative_to(root)] or folders[:1]
    files = [folder / "conftest.py" for folder in inside]
    file = next((file for file in files if file.is_file()), files[0])
    hooks = request.node.ihook.pytest_quant_recipes.get_hookimpls()
    return Asking(
        str(request.fixturename),
        param if isinstance(param, str) else None,
        _shown(file, root),
        any(Path(getattr(hook.plugin, "__file__", None) or "") == file for hook in hooks),
        _shown(path, root),
    )


def _shown(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def _relative(folder: Path, config: pytest.Config) -> str:
    root = config.rootpath
    return folder.relative_to(root).as_posix() if folder.is_relative_to(root) else folder.name
