"""Option clashes: an option of ours that a conftest or another plugin has too, told in a sentence."""

from argparse import ArgumentError
from typing import Any

import pytest


def clash(error: ValueError | ArgumentError) -> pytest.UsageError:
    """What a user can do about an option that two have."""
    return pytest.UsageError(
        f"{error}. The plugin pytest-quant has options of the names --quant and --quant-...; give yours "
        "another name, or run without the plugin: -p no:quant"
    )


def name_clashes(pluginmanager: pytest.PytestPluginManager) -> None:
    """Tell of a clash with a conftest or plugin that is loaded from now on, in place of a traceback."""

    def before(*_: Any) -> None:
        pass

    def after(outcome: Any, name: str, *_: Any) -> None:
        error = outcome.exception if name in ("pytest_addoption", "pytest_cmdline_parse") else None
        if isinstance(error, ValueError | ArgumentError) and "--quant" in str(error):
            outcome.force_exception(clash(error))
        if name == "pytest_configure":
            undo()

    undo = pluginmanager.add_hookcall_monitoring(before, after)
