"""Why a gate failed, and what would mend it.

In a notebook::

    import pytest_quant

    print(pytest_quant.explain(static))  # where it is lost
    print(pytest_quant.mend(static, max_drop=0.01))  # a recipe that was measured to hold the limit
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_quant.explain.lost.explanation import Explanation
    from pytest_quant.explain.lost.locate import explain
    from pytest_quant.explain.remedies.mending import mend
    from pytest_quant.variant.variant import Variant

__all__ = ["explain", "mend"]


def __getattr__(name: str) -> Any:  # these load torch, so only when they are asked for
    if name == "explain":
        from pytest_quant.explain.lost.locate import explain

        return explain
    if name == "mend":
        from pytest_quant.explain.remedies.mending import mend

        return mend
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _Callable(ModuleType):
    """This package can be called, since it has the name of a public function of `pytest_quant`.

    Python sets a subpackage as an attribute of its parent when it is first imported, over whatever
    had that name. So `pytest_quant.explain` is this package, whoever imports what first.
    """

    def __call__(self, variant: "Variant", **settings: Any) -> "Explanation":
        """See `pytest_quant.explain.lost.locate.explain`."""
        from pytest_quant.explain.lost.locate import explain

        return explain(variant, **settings)


sys.modules[__name__].__class__ = _Callable
