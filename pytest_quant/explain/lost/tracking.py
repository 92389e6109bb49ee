"""Tracking: which layer made the tensor that another one takes, whatever the model's code looks like.

A convolution, the BatchNorm and the ReLU behind it become one int8 operation, whose output is rounded
once. So a layer's output is followed through these until something else takes it, and through what
only moves values. This sees functions, not modules: a ReLU that is shared or functional, and control
flow, make no difference.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from pytest_quant.explain.lost.weighted import owner_of
from pytest_quant.machine import torch_api
from pytest_quant.subject.batches import tensors_in

LAYERS = frozenset(
    ["linear", *(f"conv{kind}{n}d" for kind in ("", "_transpose") for n in (1, 2, 3))]
)
ATTENTION = "multi_head_attention_forward"
FUSED = frozenset(["relu", "relu_"])
MOVES = frozenset(["flatten", "view", "reshape", "permute", "transpose", "squeeze", "unsqueeze"])
MOVES |= {"max_pool1d", "max_pool2d", "max_pool3d", "contiguous", "dropout", "detach", "clone"}
MOVES |= {"to", "float"}
# Operations that int8 has too: those whose output keeps the input's levels, and those with their own.
SHARING = frozenset(f"{kind}avg_pool{n}d" for kind in ("", "adaptive_") for n in (1, 2, 3))
SHARING |= {"mean", "interpolate", "hardtanh", "hardtanh_", "relu6", "relu6_", "clamp"}
ROUNDING = frozenset(f"__{side}{name}__" for name in ("add", "mul") for side in ("", "r", "i"))
ROUNDING |= {"add", "add_", "mul", "mul_", "cat", "concat", "hardswish", "hardsigmoid", "sigmoid"}
ROUNDING |= {"leaky_relu", "elu", "layer_norm", "group_norm", "instance_norm"}
ASKS = frozenset(
    ["__get__", "size", "dim", "stride", "numel", "is_contiguous", "__len__", "is_floating_point"]
)
CHANGING = ("__i", "__setitem__")  # how Python names what changes its first argument
TAG = "_pytest_quant_tag"
WEIGHTED = LAYERS | {"matmul", "bmm", "__matmul__"}  # for whose sake what comes before is in int8

Site = tuple[str, str, int]  # layer or "", "input", "output" or an operation, which of its calls


@dataclass(frozen=True, slots=True, eq=False)
class Tag:
    """What is known of a tensor that a layer, or another operation that int8 has, made.

    Args:
        site: its place.
        open: whether BatchNorm and ReLU behind it still belong to the layer.
        rounded: whether it lies on the levels of its place already.
        reference: what the layer would have made in FP32 of the same inputs, if asked for.
    """

    site: Site
    open: bool = True
    rounded: bool = False
    reference: Any = None

    @property
    def layer(self) -> str:
        """Whose output it is; empty for that of an operation without a weight."""
        return self.site[0]


class LayerTracking(TorchFunctionMode):
    """While entered, tells its methods of each layer's call; they may change the tensors.

    Args:
        names: of layers, as `weighted.owners_of` gives them.
        fused: names of functions that become part of the layer before them.
        others: whether operations without a weight are int8 operations too.
    """

    def __init__(
        self, names: Mapping[int, str], fused: Collection[str] = FUSED, others: bool = True
    ) -> None:
        super().__init__()
        self.names = names
        self.fused = fused
        self.others = others
        self._calls: dict[str, int] = {}

    def forward(self, run: Callable[[], Any]) -> Any:
        """One call of the model; what its last layer made counts as taken."""
        self._calls.clear()
        with self:
            outputs = run()
        for tensor in tensors_in(outputs):
            if (tag := tag_of(tensor)) is not None and not tag.rounded:
                tensor.copy_(self.ending(tensor, tag))
        return outputs

    # what a derived class says

    def weight(self, layer: str, weight: Any) -> Any:
        """The weight that a layer computes with."""
        return weight

    def entering(self, layer: str, values: Any, site: Site, tag: Tag | None) -> Any:
        """A layer's input, as it takes it; `tag` is that of the layer that made it, if one did."""
        return values

    def reference(self, layer: str, call: Callable[[], Any]) -> Any:
        """The layer's output in FP32, if it is wanted."""
        return None

    def normalized(self, layer: str, scale: Any) -> None:
        """BatchNorm behind a layer multiplies its output channels by these, [channels]."""

    def leaving(self, values: Any, tag: Tag) -> Any:
        """A layer's output, as something else than a layer takes it."""
        return values

    def moving(self, values: Any, tag: Tag) -> None:
        """What an operation takes that only moves values."""

    def passing(self, values: Any, tag: Tag, site: Site) -> Any:
        """What an operation that keeps the levels takes, and what it gives; `site` is the operation's."""
        return values

    def is_float(self, site: Site) -> bool:
        """Whether an operation that keeps the levels is computed in float."""
        return False

    def passed(self, values: Any, tag: Tag, site: Site) -> Any:
        """What such an operation gives."""
        return self.passing(values, tag, site)

    def floating(self, values: Any, tag: Tag) -> None:
        """What such an operation takes, which nobody else rounds."""

    def ending(self, values: Any, tag: Tag) -> Any:
        """A layer's output that is an output of the model."""
        return self.leaving(values, tag)

    def called(self, name: str, given: Any, output: Any) -> None:
        """A function was called: its name, its nest of arguments, and what it gave."""

    # how it is followed

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in ASKS:
            return func(*args, **kwargs)
        output = self._followed(name, func, args, kwargs)
        self.called(name, (args, kwargs), output)
        return output

    def _followed(
        self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if name in LAYERS:
            weight = args[1] if len(args) > 1 else kwargs.get("weight")
            if (layer := owner_of(weight, self.names)) is not None:
                return self._layer(layer, func, args, kwargs)
        if name == ATTENTION:
            with self:  # which sees what it is made of
                return torch_api.unguarded(func)(*args, **kwargs)
        tag = tag_of(args[0]) if args else None
        if tag is not None and tag.open and (name == "batch_norm" or name in self.fused):
            return self._fused(name, tag, func, args, kwargs)
        if tag is not None and name in MOVES:
            return self._moved(tag, func, args, kwargs)
        if self.others and name in SHARING and args and isinstance(args[0], torch.Tensor):
            return self._shared(name, tag, func, args, kwargs)
        in_place = (name.endswith("_") and not name.endswith("__")) or name.startswith(CHANGING)
        if in_place and tag is not None:
            left = self._left(args[0])
            if left is not args[0]:
                args[0].copy_(left)
            setattr(args[0], TAG, None)
        output = func(*self._taken(args), **self._taken(kwargs))
        if self.others and name in ROUNDING and isinstance(output, torch.Tensor):
            setattr(output, TAG, Tag(self._site(name)))
        return output

    def _layer(self, layer: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        number = self._calls.get(layer, 0)
        self._calls[layer] = number + 1
        values, given, rest = args[0] if args else kwargs["input"], dict(kwargs), args[2:]
        weight = args[1] if len(args) > 1 else given.pop("weight")
        given.pop("input", None)
        tag = tag_of(values)
        site = (layer, "input", number) if tag is None else tag.site
        reference = self.reference(layer, lambda: func(values, weight, *rest, **given))
        entered = self.entering(layer, values, site, tag)
        output = func(entered, self.weight(layer, weight), *rest, **given)
        setattr(output, TAG, Tag((layer, "output", number), reference=reference))
        return output

    def _fused(
        self, name: str, tag: Tag, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if name == "batch_norm" and (scale := _scale(*args, **kwargs)) is not None:
            self.normalized(tag.layer, scale)
        reference = tag.reference
        if reference is not None:
            reference = func(reference, *args[1:], **kwargs)
        output = func(*args, **kwargs)
        setattr(output, TAG, replace(tag, open=name == "batch_norm", reference=reference))
        return output

    def _moved(self, tag: Tag, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        reference = tag.reference
        if reference is not None:
            reference = func(reference, *args[1:], **kwargs)
        self.moving(args[0], tag)
        output = func(*args, **kwargs)
        for tensor in tensors_in(output):
            alike = reference if isinstance(output, torch.Tensor) else None
            setattr(tensor, TAG, replace(tag, open=False, reference=alike))
        return output

    def _shared(
        self, name: str, tag: Tag | None, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        own = self._site(name)
        tag = tag or Tag(own)
        reference = tag.reference
        if reference is not None:
            reference = func(reference, *args[1:], **kwargs)
        before = args[0] if tag.rounded else self.passing(args[0], tag, own)
        output = func(before, *args[1:], **kwargs)
        floats = self.is_float(own)
        if floats:
            self.floating(before, tag)
        after = output if floats else self.passed(output, tag, own)
        rounded = floats or tag.rounded or after is not output
        setattr(after, TAG, replace(tag, open=False, rounded=rounded, reference=reference))
        return after

    def _site(self, name: str) -> Site:
        number = self._calls.get(f" {name}", 0)
        self._calls[f" {name}"] = number + 1
        return ("", name, number)

    def _taken(self, value: Any) -> Any:
        """A nest of arguments as something else than a layer takes it; the same one if nothing changes."""
        if isinstance(value, torch.Tensor):
            return self._left(value)
        if isinstance(value, dict):
            return {key: self._taken(item) for key, item in value.items()}
        if not isinstance(value, list | tuple):
            return value
        items = [self._taken(item) for item in value]
        if all(new is old for new, old in zip(items, value, strict=True)):
            return value
        if hasattr(value, "_fields"):
            return type(value)(*items)
        return items if isinstance(value, list) else tuple(items)

    def _left(self, tensor: Any) -> Any:
        tag = tag_of(tensor)
        return tensor if tag is None or tag.rounded else self.leaving(tensor, tag)


def tag_of(value: Any) -> Tag | None:
    """The tag of a tensor; None for anything that no layer made."""
    return getattr(value, TAG, None) if isinstance(value, torch.Tensor) else None


def _scale(
    values: Any,
    mean: Any,
    variance: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    if variance is None:  # it keeps no statistics, and is folded into nothing
        return None
    factor = torch.rsqrt(variance + eps)
    return factor if weight is None else factor * weight.detach()
