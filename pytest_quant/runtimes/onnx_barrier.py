"""Barrier: what stays FP32 in an ONNX file stays so when ONNX Runtime loads it."""

from collections import defaultdict
from pathlib import Path
from typing import Any

# ONNX Runtime quantizes the weights of these at load where their input and output are quantized.
TAKEN = ("Conv", "ConvTranspose", "Gemm", "MatMul")
ACTIVATIONS = ("Relu", "LeakyRelu", "Clip")  # that it makes one with the layer before
LOWEST = -3.4028234663852886e38  # of float32: the larger of it and any number is that number
NAME = "lowest of float32"


def keep_float(path: Path) -> None:
    """Put an operator that changes nothing between each layer with float weights and what quantizes its
    output, so that ONNX Runtime does not see there what it would quantize by a single scale."""
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load(path)
    graph = model.graph
    made_by = {name: node for node in graph.node for name in node.output}
    users = defaultdict[str, list[Any]](list)
    for node in graph.node:
        for name in node.input:
            users[name].append(node)
    barriers = {}
    for node in graph.node:
        if node.op_type in TAKEN and _is_float(node, made_by):
            last = _last_before_quantization(node, users)
            if last is not None:
                (output,) = last.output
                last.output[0] = f"{output}_in_float"
                barriers[id(last)] = helper.make_node(
                    "Max", [last.output[0], NAME], [output], f"{node.name}_barrier"
                )
    if not barriers:
        return
    nodes = [each for node in graph.node for each in (node, barriers.get(id(node))) if each]
    graph.ClearField("node")
    graph.node.extend(nodes)
    graph.initializer.append(helper.make_tensor(NAME, TensorProto.FLOAT, [], [LOWEST]))
    onnx.save(model, path)


def _is_float(node: Any, made_by: dict[str, Any]) -> bool:
    source = made_by.get(node.input[1])
    return source is None or source.op_type != "DequantizeLinear"


def _last_before_quantization(node: Any, users: dict[str, list[Any]]) -> Any | None:
    """The layer, or the activation behind it, if nothing but a quantization uses what it gives."""
    while len(after := users[node.output[0]]) == 1:
        if after[0].op_type == "QuantizeLinear":
            return node
        if after[0].op_type not in ACTIVATIONS:
            return None
        (node,) = after
    return None
