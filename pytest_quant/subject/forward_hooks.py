"""Forward hooks: what was left on a model, or on all modules of the process, to look on; it costs time."""

from collections.abc import Callable
from typing import Any

from pytest_quant.errors import listed
from pytest_quant.machine import torch_api
from pytest_quant.machine.global_state import GlobalState
from pytest_quant.subject.door import MOVED, distance
from pytest_quant.subject.output_numbers import numbers_in

SHOWN = 3  # names in a note


def set_aside(module: Any, run: Callable[[], Any], outputs: Any, notes: list[str]) -> None:
    """Rid our copy of FP32 of forward hooks that change nothing, since a flow that traces leaves them out
    and would be faster for that alone. Those that change the outputs are a part of the model.

    Args:
        module: our copy; PyTorch's own hooks, of spectral norm for example, stay.
        run: gives its outputs.
        outputs: with the hooks.
        notes: gets a sentence that names them.
    """
    import torch

    found = {
        name: [*_own(before), *_own(after)]
        for name, child in module.named_modules()
        for before, after, *_ in [torch_api.hooks_of(child)]
        if [*_own(before), *_own(after)]
    }
    if not found:
        return
    kept = {
        name: [dict(hooks) for hooks in torch_api.hooks_of(module.get_submodule(name))]
        for name in found
    }
    for name in found:
        for hooks in torch_api.hooks_of(module.get_submodule(name))[:2]:
            for number in [each for each, hook in hooks.items() if not _is_of_torch(hook)]:
                del hooks[number]
    where = listed((name or "the model itself" for name in found), SHOWN)
    who = listed(dict.fromkeys(_name(hook) for hooks in found.values() for hook in hooks), SHOWN)
    try:
        with torch.inference_mode():
            without = [*numbers_in(run())]
        changes = distance([*numbers_in(outputs)], without) > MOVED
    except Exception:
        changes = True
    if not changes:
        notes.append(
            f"quant_model has forward hooks ({who}) on {where}; they change no outputs, and its copy "
            "is measured without them"
        )
        return
    for name, before in kept.items():
        for hooks, items in zip(
            torch_api.hooks_of(module.get_submodule(name)), before, strict=True
        ):
            hooks.clear()
            hooks.update(items)
    notes.append(
        f"quant_model has forward hooks ({who}) on {where} that change its outputs; FP32 is measured "
        "with them, and flow fx leaves layers that have one FP32"
    )


def set_global_aside(notes: list[str]) -> None:
    """Remove hooks that all modules of the process call, until the settings are given back."""
    if found := [hook for hooks in torch_api.global_hooks() for _, hook in hooks]:
        notes.append(
            f"hooks for all modules of the process were registered ({listed(map(_name, found), SHOWN)}); "
            "all is measured without them"
        )
        GlobalState.now().without_hooks().put_back()


def _own(hooks: Any) -> list[Any]:
    return [hook for hook in hooks.values() if not _is_of_torch(hook)]


def _is_of_torch(hook: Any) -> bool:
    """Whether PyTorch has set it, as a part of the model."""
    module = getattr(hook, "__module__", None) or type(hook).__module__
    return str(module).split(".")[0] == "torch"


def _name(hook: Any) -> str:
    hook = getattr(hook, "func", hook)  # of functools.partial
    named = hook if hasattr(hook, "__qualname__") else type(hook)
    return f"{named.__module__}.{named.__qualname__}"
