"""Reads: tensors of its layers that a model reads itself, besides calling them.

The weight of PyTorch's int8 layers is a method, or not there at all. A model that only asks for the
weight's shape, type or device is answered; where it computes with the values, the layer stays FP32.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import torch

from pytest_quant.subject.batches import mapped

# What tells the form of a tensor without its values.
PROPERTIES = (
    "shape",
    "dtype",
    "device",
    "ndim",
    "layout",
    "requires_grad",
    "is_quantized",
    "is_cuda",
)
METHODS = ("size", "dim", "ndimension", "numel", "nelement", "is_floating_point", "__len__")

# What makes another tensor of the same type.
MAKERS = ("new_zeros", "new_ones", "new_empty", "new_full", "new_tensor")
FORM_OF_PARAMETERS = "form_of_parameters"  # a parameter that stands for those that are int8

Reads = dict[str, dict[str, bool]]


def reads_of(module: Any, names: Iterable[str], run: Callable[[], object]) -> Reads:
    """What a model reads of these layers from outside of them.

    Args:
        module: of our own.
        names: of its layers.
        run: calls it.

    Returns:
        Name of a layer -> name of its tensor -> whether its values are read, not just its form.
    """
    found: Reads = {}
    with (
        suppress(Exception),  # what cannot be watched is seen when it is to run
        _watched({name: module.get_submodule(name) for name in names}, found),
    ):
        run()
    return found


def with_values(found: Reads) -> set[str]:
    """The layers of which values are read."""
    return {name for name, tensors in found.items() if any(tensors.values())}


def answer(layer: Any, before: Any, tensors: Mapping[str, bool]) -> None:
    """Let an int8 layer tell what the FP32 one in its place did: settings, and its tensors' form.

    Args:
        layer: int8.
        before: FP32.
        tensors: that are read of it, by name.
    """
    for name, value in vars(before).items():
        if isinstance(value, bool | int | float | str | None) and not hasattr(layer, name):
            setattr(layer, name, value)
    for name in tensors:
        tensor = getattr(before, name)
        own = getattr(type(layer), name, None)
        method = functools.partial(own, layer) if callable(own) else None
        setattr(layer, name, Form(tuple(tensor.shape), tensor.dtype, method))


def with_parameters(module: Any) -> list[str]:
    """Names of the modules that hold any parameter, deep down too."""
    return [name for name, child in module.named_modules() if any(True for _ in child.parameters())]


def answer_for_parameters(converted: Any, owners: Iterable[str], run: Callable[[], object]) -> None:
    """Let ``next(self.parameters())`` tell type and device where all parameters became int8.

    What stands for them is NaN, so that a model that computes with it cannot pass for another one.

    Args:
        owners: that had parameters before.
        run: calls the converted model.
    """
    try:
        run()
    except StopIteration:
        for name in owners:
            child = converted.get_submodule(name)
            own = type(child).__module__.split(".")[0] == "torch"
            if not own and next(child.parameters(), None) is None:
                nothing = torch.nn.Parameter(torch.full((1,), torch.nan), requires_grad=False)
                child.register_parameter(FORM_OF_PARAMETERS, nothing)
    except Exception:  # told where it is to run
        return


class Form:
    """Stands for a tensor of which only the form is asked for.

    Args:
        shape, dtype: of it.
        method: what the int8 layer has under that name, which is called as ever.
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any, method: Any) -> None:
        self.of = (shape, dtype)
        self.method = method

    def __call__(self) -> Any:
        return self.method()

    def __len__(self) -> int:
        return self.of[0][0]

    def __getattr__(self, name: str) -> Any:
        if name in (*PROPERTIES, *METHODS, *MAKERS):
            shape, dtype = self.of
            return getattr(torch.zeros((), dtype=dtype).expand(shape), name)
        raise AttributeError(
            f"an int8 layer has only the form of this tensor, no {name}; keep the layer FP32"
        )


class _Watched(torch.Tensor):
    """A tensor that notes when it is asked for more than its form.

    Attributes:
        plain: the tensor itself.
        note: to be called then.
    """

    plain: Any
    note: Callable[[], None]

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        owner = getattr(func, "__self__", None)  # of a property's getter the property
        name = getattr(owner, "__name__", "") if func.__name__ == "__get__" else func.__name__
        is_form = name in (PROPERTIES if func.__name__ == "__get__" else (*METHODS, *MAKERS))

        def plain(tensor: Any) -> Any:
            if not isinstance(tensor, _Watched):
                return tensor
            if not is_form:
                tensor.note()
            return tensor.plain

        return func(*mapped(args, plain), **mapped(kwargs or {}, plain))


@contextmanager
def _watched(layers: Mapping[str, Any], found: Reads) -> Iterator[None]:
    """In which what is read of these layers, but for what they read of themselves, is noted."""
    running: dict[int, int] = {}
    kinds = {name: type(layer) for name, layer in layers.items()}

    def enters(layer: Any, *_: Any) -> None:
        running[id(layer)] = running.get(id(layer), 0) + 1

    def leaves(layer: Any, *_: Any) -> None:
        running[id(layer)] -= 1

    hooks = []
    for name, layer in layers.items():
        hooks.append(layer.register_forward_pre_hook(enters))
        hooks.append(layer.register_forward_hook(leaves, always_call=True))
        kind = kinds[name]
        space = {"__getattr__": _noting(name, kind, running, found), "__module__": kind.__module__}
        layer.__class__ = type(kind.__name__, (kind,), space)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for name, layer in layers.items():
            layer.__class__ = kinds[name]


def _noting(
    layer_name: str, kind: Any, running: Mapping[int, int], found: Reads
) -> Callable[[Any, str], Any]:
    def noting(self: Any, name: str) -> Any:
        value = kind.__getattr__(self, name)
        if not isinstance(value, torch.Tensor) or running.get(id(self)):
            return value
        tensors = found.setdefault(layer_name, {})
        tensors.setdefault(name, False)
        watched: Any = value.detach().as_subclass(_Watched)
        watched.plain = value
        watched.note = functools.partial(tensors.__setitem__, name, True)
        return watched

    return noting
