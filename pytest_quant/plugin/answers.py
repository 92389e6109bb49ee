"""Answers: what the hooks of a repo return; one that raises is told in a sentence, with its line."""

import linecache
from typing import Any

import pytest

from pytest_quant.errors import in_brief, terminal_safe
from pytest_quant.plugin.tracebacks import last_of_theirs


def answers_of(hook: Any, name: str, config: pytest.Config) -> list[Any]:
    """What each conftest's hook of a name returns, the nearest first.

    Args:
        hook: of the whole run, or of a test, which sees the conftests of its folders.
        name: of the hook.
        config: of the run.

    Raises:
        pytest.UsageError: when one raises; says what, and in which line.
    """
    try:
        return list(getattr(hook, name)(config=config))
    except pytest.UsageError:
        raise
    except Exception as error:
        said = f"{name} raised{_where(error)}: {in_brief(error)}"
        raise pytest.UsageError(terminal_safe(said)) from None


def _where(error: Exception) -> str:
    """The user's line and its place, where the error has left them."""
    entry = last_of_theirs(error)
    if entry is None:
        return ""
    path, line = entry.tb_frame.f_code.co_filename, entry.tb_lineno
    text = linecache.getline(path, line).strip()
    return f" in {path}:{line}{f' ({text})' if text else ''}"
