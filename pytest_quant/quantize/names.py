"""Which modules a recipe keeps FP32, by the user's own names or types."""

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any

from pytest_quant.errors import QuantStageError
from pytest_quant.quantize.second_names import second_names


def kept(module: Any, keep_fp32: Iterable[str | type]) -> frozenset[str]:
    """Qualified names of all modules that `keep_fp32` covers, those inside a match included; the first
    name of each.

    Raises:
        QuantStageError: for a pattern or type that matches no module.
    """
    names, first = frozenset[str](), second_names(module)
    every = dict(module.named_modules(remove_duplicate=False))
    for pattern in keep_fp32:
        roots = [name for name, child in every.items() if name and _is(name, child, pattern)]
        if not roots:
            shown = repr(pattern) if isinstance(pattern, str) else pattern.__name__
            some = ", ".join(name for name, _ in list(module.named_children())[:8])
            raise QuantStageError(
                "prepare",
                f"keep_fp32 {shown} matches no module of quant_model; its modules are named "
                f"like {some}",
            )
        covered = [name for name in every if any(_inside(name, root) for root in roots)]
        names |= {str(first.get(name, name)) for name in covered}
    return names


def refuse_int8(converted: Any, names: Iterable[str], flow: str) -> None:
    """Let nothing that was to stay FP32 be int8 in the built model.

    Raises:
        QuantStageError: names the first that is.
    """
    modules = dict(converted.named_modules()) if hasattr(converted, "named_modules") else {}
    known = getattr(converted, "int8_modules", ())
    for name in sorted(names):
        kind = type(modules.get(name))
        if name in known or ".quantized" in kind.__module__:
            raise QuantStageError(
                "convert",
                f"keep_fp32 names {name} ({kind.__name__}), and flow {flow} made it int8 all the same; "
                "take another flow.",
            )


def roots_of(names: Iterable[str]) -> Iterator[str]:
    """Those names that lie inside no other one of them."""
    known = set(names)
    for name in sorted(known):
        parts = name.split(".")
        if not any(".".join(parts[:length]) in known for length in range(1, len(parts))):
            yield name


def _is(name: str, module: Any, pattern: str | type) -> bool:
    return fnmatchcase(name, pattern) if isinstance(pattern, str) else isinstance(module, pattern)


def _inside(name: str, root: str) -> bool:
    return name == root or name.startswith(f"{root}.")
