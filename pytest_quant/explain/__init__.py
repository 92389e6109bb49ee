"""Why a gate failed, and what would mend it.

In a notebook::

    from pytest_quant.explain import explain, mend

    print(explain(static))  # where it is lost
    print(mend(static, max_drop=0.01))  # a recipe that was measured to hold the limit
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_quant.explain.lost.locate import explain
    from pytest_quant.explain.remedies.mending import mend

__all__ = ["explain", "mend"]

_HOME = {"explain": "lost.locate", "mend": "remedies.mending"}  # which is where torch is loaded


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
