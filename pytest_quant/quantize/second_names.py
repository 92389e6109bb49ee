"""Second names: modules that a model holds in several places, of which PyTorch swaps the first."""

from typing import Any


def second_names(module: Any) -> dict[str, str]:
    """Each further name of a submodule, and of what is inside it -> its first one."""
    first, found = dict[int, str](), dict[str, str]()
    for name, child in module.named_modules(remove_duplicate=False):
        if first.setdefault(id(child), name) != name:
            found[name] = first[id(child)]
    return found


def share_again(converted: Any, names: dict[str, str]) -> None:
    """Put what became of a module wherever it was.

    PyTorch's eager mode swaps a module under its first name alone; the others would keep the FP32 one, or
    get a copy of their own.

    Args:
        converted: the module after conversion, in place.
        names: what `second_names` said before it.
    """
    inside = tuple(f"{name}." for name in names)
    for second, first in names.items():
        if second.startswith(inside):
            continue
        parent, _, attribute = second.rpartition(".")
        setattr(converted.get_submodule(parent), attribute, converted.get_submodule(first))
