"""Graphs: what exported and traced graphs know of the model that they came from."""

import operator
from collections.abc import Callable
from typing import Any

from pytest_quant.errors import QuantStageError
from pytest_quant.machine.torch_api.torch_modules import module

STACK = "nn_module_stack"  # of a traced node's meta: the user's modules that it lies in
SOURCES = "source_fn_stack"  # of a traced node's meta: the layers and functions that it came from
ANNOTATION = "quantization_annotation"  # of an exported node's meta: how a quantizer rounds it
ROOT = "L['self']"  # what strict export calls the model itself


def is_exported(model: Any) -> bool:
    """Whether it is the graph of a program of torch.export, which calls ATen's operations and no layers."""
    import torch

    if not isinstance(model, torch.fx.GraphModule):
        return False
    graph = model.graph
    layers = [n for n in graph.find_nodes(op="call_module") if not n.target.startswith("_guards")]
    return not layers and any(
        node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload)
        for node in graph.nodes
    )


def owner_of(node: Any) -> str:
    """The user's name of the innermost module that made a node of an exported graph; empty for none."""
    stack = node.meta.get(STACK) or {"": ("", None)}
    return _plain(list(stack.values())[-1][0])


def _plain(name: Any) -> str:
    return str(name).removeprefix(ROOT).removeprefix(".")


def refuse_unowned(graph: Any) -> None:
    """Nodes must say which of the user's modules made them, or int8 layers would have no names.

    Raises:
        QuantStageError: none of a graph's nodes does.
    """
    called = [node for node in graph.graph.nodes if node.op == "call_function"]
    if called and not any(STACK in node.meta for node in called):
        raise QuantStageError(
            "prepare",
            f"a graph that this PyTorch exports has no {STACK}, so that no layer has a name",
        )


def round_no_integers(graph: Any) -> None:
    """Take a quantizer's annotation off what computes with integers, as the positions of words: they would
    be observed and rounded like activations."""
    import torch

    for node in graph.graph.nodes:
        annotation = node.meta.get(ANNOTATION)
        if annotation is None:
            continue
        values = [each.meta.get("val") for each in (node, *annotation.input_qspec_map)]
        if any(isinstance(v, torch.Tensor) and not v.is_floating_point() for v in values):
            del node.meta[ANNOTATION]


def part_paddings(graph: Any) -> None:
    """Let padding count as an operation of its own, not as a part of the convolution that asked for it:
    torchao looks for convolutions by the layer that a node came from."""
    import torch

    for node in graph.graph.nodes:
        if node.target is torch.ops.aten.pad.default and node.meta.get(SOURCES):
            node.meta[SOURCES] = [(node.name, torch.nn.functional.pad)]


def part_numbers(graph: Any) -> None:
    """Let the addition of a number count as no addition: torchao fuses a Linear with one behind it, and
    fails where what is added is no tensor."""
    import torch

    aten = torch.ops.aten
    for node in graph.graph.nodes:
        is_addition = node.target in (aten.add.Tensor, aten.add_.Tensor)
        if is_addition and node.meta.get(SOURCES) and not isinstance(node.args[1], torch.fx.Node):
            node.meta[SOURCES] = [(node.name, "addition of a number")]


def show_linears(graph: Any) -> None:
    """Let each product with a parameter, or a part of one, count as a Linear of the module that owns it.

    torchao looks for Linear by the layer or function that a node came from. That of a node which
    attention's own functions made, or a model's code in an export that is not strict, is another one or
    none. The owner may be a module inside the caller: attention reads the weight of its `out_proj`.
    """
    import torch

    for node in graph.graph.nodes:
        weight = _parameter(node.args[1]) if node.target is torch.ops.aten.linear.default else None
        if weight is None:
            continue
        if not _is_linear(node):
            node.meta[SOURCES] = [(node.name, torch.nn.functional.linear)]
        owner, caller = str(weight.target).rpartition(".")[0], owner_of(node)
        if owner.startswith(f"{caller}." if caller else "") and owner != caller:
            stack = dict(node.meta.get(STACK) or {})
            node.meta[STACK] = stack | {f"{weight.name} of {owner}": (owner, torch.nn.Module)}


def show_parents(graph: Any) -> None:
    """Let each node lie in all modules that its own lies in: lists of modules are never called, so that
    an export does not know of them."""
    import torch

    for node in graph.graph.nodes:
        stack = node.meta.get(STACK) or {}
        known = {_plain(name) for name, _ in stack.values()}
        parts = [name.split(".") for name in known]
        above = {".".join(names[:end]) for names in parts for end in range(1, len(names))} - known
        if above:
            node.meta[STACK] = {f" {name}": (name, torch.nn.Module) for name in above} | stack


def _parameter(node: Any) -> Any | None:
    """The node of the parameter that a node is, or that it takes a part of; None for what is computed."""
    import torch

    aten = torch.ops.aten
    parts = (operator.getitem, aten.chunk.default, aten.split.Tensor, aten.split_with_sizes.default)
    while node.op == "call_function" and node.target in (*parts, aten.slice.Tensor):
        node = node.args[0]
    return node if node.op == "get_attr" else None


def _is_linear(node: Any) -> bool:
    """Whether torchao sees that a node is a Linear."""
    import torch

    linear, sources = torch.nn.Linear, node.meta.get(SOURCES)
    if sources:
        return sources[-1][1] in (linear, torch.nn.functional.linear)
    stack = list((node.meta.get(STACK) or {}).values())
    return bool(stack) and stack[-1][1] in (linear, f"{linear.__module__}.{linear.__qualname__}")


def form_of_outputs(graph: Any) -> Any:
    """How an exported graph's outputs are nested: a pytree's spec."""
    return graph._out_spec


def sizes_of_inputs(graph: Any) -> list[tuple[int | None, ...]]:
    """The sizes of each tensor that an exported graph takes; None where it takes any.

    A symbol that a guard has bound to a number reads like that number.
    """
    values = [node.meta.get("val") for node in graph.graph.find_nodes(op="placeholder")]
    return [
        tuple(int(str(size)) if str(size).isdigit() else None for size in value.shape)
        for value in values
        if hasattr(value, "shape")
    ]


def free_sizes(
    inputs: list[Any], free: list[tuple[bool, ...]]
) -> tuple[list[Any], Callable[[list[Any]], bool]]:
    """Stand-ins of tensors with sizes that are symbols, for inductor to compile a graph for all of them.

    Args:
        inputs: contiguous tensors.
        free: of each one, which of its sizes are.

    Returns:
        The stand-ins, and what tells afterwards whether the compiled graph takes other tensors: not if it
        asked for something of the sizes that these do not fulfil.
    """
    fakes = module("torch._subclasses")
    symbolic = module("torch.fx.experimental.symbolic_shapes")
    dynamic, static = symbolic.DimDynamic.DYNAMIC, symbolic.DimDynamic.STATIC
    environment = symbolic.ShapeEnv()
    mode = fakes.FakeTensorMode(shape_env=environment)
    made = []
    for tensor, sizes in zip(inputs, free, strict=True):
        context = symbolic.StatelessSymbolicContext(
            dynamic_sizes=[dynamic if size else static for size in sizes]
        )
        made.append(mode.from_tensor(tensor, symbolic_context=context))

    def takes(others: list[Any]) -> bool:
        code = environment.produce_guards_expression(made, ignore_static=False)
        return code is None or bool(environment.evaluate_guards_expression(code, others))

    return made, takes


def metadata_assertion() -> Any:
    """The operator by which an exported graph asserts a tensor's type; None where there is none."""
    import torch

    packet = getattr(torch.ops.aten, "_assert_tensor_metadata", None)
    return getattr(packet, "default", None)
