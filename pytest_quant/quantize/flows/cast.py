"""Cast: the whole model in bfloat16 or float16, between float32 inputs and float32 outputs."""

import copy
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pytest_quant.errors import QuantStageError
from pytest_quant.machine import torch_api
from pytest_quant.quantize.names import kept, roots_of
from pytest_quant.variant.facts import Facts, Ranges
from pytest_quant.variant.recipe import Recipe

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
# Normalisations whose CPU kernels take inputs in half precision along with float32 parameters.
MIXED = (torch_api.norm_base(), nn.LayerNorm, nn.GroupNorm)


def convert(module: Any, recipe: Recipe) -> Any:
    """The module cast as a recipe of kind ``cast`` says."""
    return cast(module, recipe.dtype or next(iter(DTYPES)), keep_fp32=recipe.keep_fp32)


def facts(recipe: Recipe) -> Facts:
    """All is in half precision."""
    return Facts(recipe.kind, Ranges.NEVER, covers=None, bits=16, other_bits=16, fast_path=True)


def cast(module: Any, dtype: str, *, keep_fp32: Iterable[str | type] = ()) -> Any:
    """The module with its floating parameters and buffers in half precision.

    Hooks round what goes into the model, and into each module that has parameters, and give the
    model's outputs back as float32, in whatever nest or output object they come. Modules that are kept
    FP32 take and compute float32. Normalisations keep float32 parameters and statistics where their
    kernels can: a variance is easily out of float16's range.

    Args:
        module: our own copy of the FP32 model, in eval mode.
        dtype: ``bfloat16`` or ``float16``.
        keep_fp32: patterns or types of modules that stay FP32.

    Raises:
        QuantStageError: when there is nothing to cast.
    """
    low = DTYPES[dtype]
    fp32_names = _islands(module, kept(module, keep_fp32))
    if not _cast(module, low, fp32_names):
        raise QuantStageError(
            "prepare",
            "nothing to cast: quant_model has no floating point parameters"
            f"{' outside keep_fp32' if fp32_names else ''} but those of normalisations.",
        )
    for name in roots_of(fp32_names):
        island = module.get_submodule(name)
        island.register_forward_pre_hook(partial(_takes, torch.float32), with_kwargs=True)
        island.register_forward_hook(partial(_gives, torch.float32, low))
    for child in _doors(module, low, fp32_names):
        child.register_forward_pre_hook(partial(_takes, low), with_kwargs=True)
    module.register_forward_hook(partial(_gives, low, torch.float32))
    return module


def _islands(module: nn.Module, fp32_names: frozenset[str]) -> frozenset[str]:
    """The modules that stay FP32: those that are kept, and any that shares a parameter with one."""
    for name in fp32_names:
        parent = module.get_submodule(name.rpartition(".")[0])
        if isinstance(parent, nn.MultiheadAttention) and name.rpartition(".")[0] not in fp32_names:
            raise QuantStageError(
                "prepare",
                f"keep_fp32 cannot keep {name} alone: attention reads its weight and would mix "
                f"precisions. Keep {name.rpartition('.')[0] or 'the whole model'} FP32 instead.",
            )
    kept_ids = {id(p) for name in fp32_names for p in module.get_submodule(name).parameters()}
    return fp32_names | {
        name
        for name, child in module.named_modules()
        if name and any(id(p) in kept_ids for p in child.parameters(recurse=False))
    }


def _cast(module: nn.Module, dtype: torch.dtype, fp32_names: Collection[str]) -> bool:
    """Cast in place; whether any parameter was."""
    stays, casts = set[int](), list[nn.Module]()
    for name, child in module.named_modules():
        if name in fp32_names or isinstance(child, MIXED):
            stays.update(map(id, (*child._parameters.values(), *child._buffers.values())))
        else:
            casts.append(child)
    done = list[int]()

    def change(tensor: Tensor) -> Tensor:
        if id(tensor) in stays or not tensor.is_floating_point():
            return tensor
        done.append(id(tensor))
        return tensor.to(dtype)

    for child in casts:
        child._apply(change, recurse=False)  # type: ignore[no-untyped-call]
    return bool(done)


def _doors(
    module: nn.Module, dtype: torch.dtype, fp32_names: Collection[str]
) -> Iterator[nn.Module]:
    """The modules whose inputs are cast: the model itself, and each with parameters of its own.

    PyTorch's modules are taken as a whole: inside them everything has one precision, and a hook
    would keep attention from its fast path.
    """
    yield module
    inside: tuple[str, ...] = ()
    for name, child in module.named_modules():
        if name in fp32_names or name.startswith(inside):
            continue
        whole = _is_pytorchs(child)
        if name and any(p.dtype == dtype for p in child.parameters(recurse=whole)):
            yield child
        if whole:
            inside += (f"{name}." if name else "",)


def _is_pytorchs(module: nn.Module) -> bool:
    looked_into = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
    return type(module).__module__.startswith("torch.nn.modules.") and not isinstance(
        module, looked_into
    )


def _takes(dtype: torch.dtype, module: Any, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
    """Hook: a module's floating inputs in its own precision."""
    if not kwargs and len(args) == 1 and isinstance(args[0], Tensor) and args[0].dtype is dtype:
        return None  # the usual case, which costs a microsecond
    taken: tuple[Any, Any] = changed((args, kwargs), partial(_to, dtype))
    return taken


def _gives(own: torch.dtype, dtype: torch.dtype, module: Any, args: Any, outputs: Any) -> Any:
    """Hook: a module's outputs of its own precision in another."""
    return changed(outputs, lambda t: t.to(dtype) if t.dtype is own else t)


def _to(dtype: torch.dtype, tensor: Tensor) -> Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def changed(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same nest with each tensor changed; what holds none that changes stays the same object.

    Dicts, lists, tuples and output objects keep their types: an object is copied, and its changed
    entries and attributes are set.
    """
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, list | tuple):
        items = [changed(item, change) for item in value]
        if all(new is old for new, old in zip(items, value, strict=True)):
            return value
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, Mapping):
        entries = {key: changed(item, change) for key, item in value.items()}
        different = {key: new for key, new in entries.items() if new is not value[key]}
        return _with(value, different, lambda made, key, new: made.__setitem__(key, new))
    if hasattr(value, "__dict__") and not isinstance(value, type | nn.Module):
        fields = {key: changed(item, change) for key, item in vars(value).items()}
        different = {key: new for key, new in fields.items() if new is not vars(value)[key]}
        return _with(value, different, object.__setattr__)
    return value


def _with(value: Any, different: Mapping[Any, Any], put: Callable[[Any, Any, Any], None]) -> Any:
    if not different:
        return value
    made = copy.copy(value)
    for key, new in different.items():
        put(made, key, new)
    return made
