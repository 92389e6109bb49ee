"""Stretches: where a model leaves int8 for float and goes back, between which of the user's layers."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from pytest_quant.errors import listed
from pytest_quant.machine import torch_api

SHOWN = 3  # names in one place of a sentence


@dataclass(frozen=True, slots=True)
class Stretch:
    """What computes in float between int8 layers; each way there and back is a conversion.

    Args:
        after: the int8 layers before it, by the user's names.
        operations: what computes in float; empty where it is not known, or nothing at all.
        before: the int8 layers behind it.
    """

    after: tuple[str, ...]
    operations: tuple[str, ...]
    before: tuple[str, ...]

    def __str__(self) -> str:
        some = partial(listed, most=SHOWN, counted=True)
        between = f"between {some(self.after)} and {some(self.before)}"
        return f"{some(self.operations)} {between}" if self.operations else between

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {name: list(names) for name, names in asdict(self).items()}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Stretch":
        """What `to_dict` wrote."""
        return cls(**{name: tuple(names) for name, names in plain.items()})


def stretches_of(model: Any, call: Callable[[], Any]) -> tuple[Stretch, ...]:
    """The stretches of a model of flow fx, eager or parts, in the order of its calls.

    Args:
        model: any callable; one that is no module, or has no int8 layers, has none.
        call: makes one call of it.
    """
    import torch

    if not isinstance(model, torch.nn.Module) or hasattr(model, "int8_modules"):
        return ()  # a graph of pt2e, whose conversions inductor merges into its kernels
    found = [
        stretch
        for name, child in model.named_modules()
        if isinstance(child, torch.fx.GraphModule)
        for stretch in _in_graph(child, f"{name}." if name else "")
    ]
    if not isinstance(model, torch.fx.GraphModule) and _changes(model):
        found += _between_modules(_order_of(model, call))
    return tuple(found)


def _in_graph(graph_module: Any, prefix: str) -> Iterator[Stretch]:
    """Each group of float operations that hang together, from `dequantize` to `quantize_per_tensor`."""
    done = set[Any]()
    for node in graph_module.graph.nodes:
        if _leaves(node) and node not in done:
            group = _group(node)
            done |= group
            after = [_source(each) for each in group if _leaves(each)]
            before = [user for each in group if _enters(each) for user in each.users]
            inner = [each for each in group if not (_leaves(each) or _enters(each))]
            if before:  # else it is the model's output
                yield Stretch(*(_names(nodes, prefix) for nodes in (after, inner, before)))


def _group(start: Any) -> set[Any]:
    """All that is connected with a node by values in float that come from int8."""
    group, left = {start}, [start]
    while left:
        node = left.pop()
        near = [] if _enters(node) else [user for user in node.users if user.op != "output"]
        if not _leaves(node):
            near += [source for source in node.all_input_nodes if _is_from_int8(source)]
        for other in near:
            if other not in group:
                group.add(other)
                left.append(other)
    return group


def _is_from_int8(node: Any) -> bool:
    """Whether a value in float was made from int8, by whatever operations."""
    left, seen = [node], set[Any]()
    while left:
        each = left.pop()
        if _leaves(each):
            return True
        if each not in seen and not _enters(each):
            seen.add(each)
            left.extend(each.all_input_nodes)
    return False


def _source(node: Any) -> Any:
    """What made the int8 value that leaves; not what only quantized it."""
    source = node.all_input_nodes[0]
    return source.all_input_nodes[0] if _enters(source) else source


def _enters(node: Any) -> bool:
    import torch

    functions = (torch.quantize_per_tensor, torch.quantize_per_tensor_dynamic)
    return node.op == "call_function" and node.target in functions


def _leaves(node: Any) -> bool:
    import torch

    return node.target in ("dequantize", torch.dequantize)


def _names(nodes: Iterable[Any], prefix: str) -> tuple[str, ...]:
    """The user's names of what nodes call, each once, in the graph's order; not those of sizes."""
    ordered = sorted(set(nodes))
    return tuple(dict.fromkeys(name for node in ordered if (name := _name(node, prefix))))


def _name(node: Any, prefix: str) -> str:
    if node.op == "call_module":
        return f"{prefix}{node.target}"
    if node.op == "placeholder":
        return "the input"
    if node.op not in ("call_function", "call_method"):
        return ""
    name = node.target if isinstance(node.target, str) else node.target.__name__.split(".")[0]
    if name in ("getitem", "getattr", "size"):
        return ""
    owner = torch_api.owner_of(node)
    return f"{name} in {prefix}{owner}" if owner else name


def _changes(model: Any) -> bool:
    """Whether there are modules that go from float to int8 or back."""
    import torch

    return any(
        isinstance(child, torch.fx.GraphModule) or type(child).__name__ == "Quantize"
        for child in model.modules()
    )


def _order_of(model: Any, call: Callable[[], Any]) -> list[tuple[str, Any]]:
    """The layers that one call reaches, by name: PyTorch's own, modules without children, traced parts."""
    order: list[tuple[str, Any]] = []

    def record(name: str) -> Callable[..., None]:
        return lambda module, *_: order.append((name, module))

    hooks, inside = [], tuple[str, ...]()
    for name, child in model.named_modules():
        if name.startswith(inside):
            continue
        if _is_whole(child) and torch_api.takes_hooks(child):
            hooks.append(child.register_forward_hook(record(name)))
            inside += (f"{name}.",)
    try:
        call()
    finally:
        for hook in hooks:
            hook.remove()
    return order


def _is_whole(module: Any) -> bool:
    """Whether a module is one layer, or a part whose own graph tells what it does."""
    import torch

    from pytest_quant.quantize.flows.fx import is_whole

    if type(module).__name__ == "Identity":  # left of what has been fused
        return False
    return (
        is_whole(module)
        or isinstance(module, torch.fx.GraphModule)
        or type(module).__module__.startswith("torch.ao.nn.")
        or type(module).__name__ == "Floating"
        or not any(True for _ in module.children())
    )


def _between_modules(order: Iterable[tuple[str, Any]]) -> Iterator[Stretch]:
    """Of modules in the order of their calls: those in float between two that compute in int8."""
    last, in_float, went, floats = "", True, False, list[str]()
    for name, module in order:
        kind = type(module).__name__
        is_part = hasattr(module, "graph")
        if kind == "DeQuantize":
            in_float = went = True
        elif kind == "Quantize":
            in_float = False
        elif kind == "Floating" or (in_float and not is_part):
            floats.append(name)
        else:
            if last and (floats or went or is_part):
                yield Stretch((last,), tuple(floats), (name,))
            last, went, floats = name, False, []
