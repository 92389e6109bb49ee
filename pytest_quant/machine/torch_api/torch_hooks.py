"""Hooks: what a module calls before or after it runs, and what each module of the process calls."""

from typing import Any

# What a module calls before or after it runs, and what each module of the process calls.
HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
GLOBAL_HOOKS = tuple(f"_global{name}" for name in HOOKS)


def hooks_of(child: Any) -> tuple[Any, ...]:
    """The hooks that are called when one module runs, by their kind: dicts by number."""
    return tuple(getattr(child, name) for name in HOOKS)


def takes_hooks(child: Any) -> bool:
    """Whether a module's call may be watched by hooks; a scripted one's not."""
    import torch

    return not isinstance(child, torch.jit.ScriptModule)


def global_hooks() -> tuple[tuple[tuple[int, Any], ...], ...]:
    """The hooks that are called when any module of the process runs, by their kind."""
    return tuple(tuple(hooks.items()) for hooks in _global_hooks())


def no_global_hooks() -> tuple[tuple[tuple[int, Any], ...], ...]:
    """What `global_hooks` gives when there are none."""
    return tuple(() for _ in GLOBAL_HOOKS)


def set_global_hooks(wanted: tuple[tuple[tuple[int, Any], ...], ...]) -> None:
    """Let those be the hooks; a handle that removes one goes on doing so."""
    for hooks, items in zip(_global_hooks(), wanted, strict=True):
        hooks.clear()
        hooks.update(items)


def _global_hooks() -> list[Any]:
    import torch

    return [getattr(torch.nn.modules.module, name) for name in GLOBAL_HOOKS]
