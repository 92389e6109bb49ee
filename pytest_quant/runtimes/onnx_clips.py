"""Clips: a clip between two quantizations of one scale is done in int8, or by the quantization itself."""

from pathlib import Path
from typing import Any

import numpy


def clip_in_int8(path: Path) -> None:
    """Make ``Quantize -> Dequantize -> Clip -> Quantize`` a ``Quantize -> Clip`` that gives the same bits,
    or just a Quantize where that saturates at the limits itself.

    ONNX Runtime would leave int8 for each such Clip, as for each ReLU6 of a MobileNet.

    Args:
        path: of a file whose constants are initializers; it is written anew where something is found.
    """
    import onnx_ir as ir

    model = ir.load(path)
    changed = False
    for last in list(model.graph):
        nodes = _chain(last)
        if nodes is None:
            continue
        first, _, clip, _ = nodes
        limits = _limits(clip, last)
        if limits is None:
            continue
        changed, output = True, first.outputs[0]
        kind = numpy.iinfo(limits[0].dtype)
        if [*limits] != [kind.min, kind.max]:
            ends = [
                ir.val(f"{last.outputs[0].name}_{name}", const_value=ir.tensor(limit))
                for name, limit in zip(("lowest", "highest"), limits, strict=True)
            ]
            for end in ends:
                model.graph.register_initializer(end)
            inside = ir.node("Clip", [output, *ends], name=f"{clip.name}_quant")
            model.graph.insert_before(last, inside)
            output = inside.outputs[0]
        ir.convenience.replace_all_uses_with(last.outputs[0], output)
        for node in reversed(nodes[1:]):
            if not any(value.uses() or value.is_graph_output() for value in node.outputs):
                model.graph.remove(node, safe=True)
    if changed:
        ir.save(model, path)


def _chain(last: Any) -> tuple[Any, Any, Any, Any] | None:
    """The four nodes that end with this one, where both quantizations have one scale and zero point."""
    if last.op_type != "QuantizeLinear":
        return None
    nodes = [last]
    for op_type in ("Clip", "DequantizeLinear", "QuantizeLinear"):
        node = nodes[-1].inputs[0].producer()
        if node is None or node.op_type != op_type:
            return None
        nodes.append(node)
    _, clip, back, first = nodes
    own = [_numbers(node) for node in (first, back, last)]
    return None if own[0] is None or own.count(own[0]) < len(own) else (first, back, clip, last)


def _numbers(node: Any) -> tuple[float, int, str] | None:
    """Scale, zero point and type of a quantization that has one for all; None where it has several."""
    if len(node.inputs) < 3:
        return None
    scale, zero_point = map(_constant, node.inputs[1:3])
    if scale is None or zero_point is None:
        return None
    return float(scale), int(zero_point), str(zero_point.dtype)


def _limits(clip: Any, quantization: Any) -> tuple[Any, Any] | None:
    """A clip's limits as the quantization gives them; None where they are no constants."""
    given = [_constant(value) for value in clip.inputs[1:]]
    if any(
        limit is None
        for limit, value in zip(given, clip.inputs[1:], strict=True)
        if value is not None
    ):
        return None
    low, high = (*given, None, None)[:2]
    scale, zero_point = map(_constant, quantization.inputs[1:3])
    kind = numpy.iinfo(zero_point.dtype)

    def quantized(limit: Any) -> Any:
        value = numpy.rint(numpy.float32(limit) / numpy.float32(scale)) + int(zero_point)
        return numpy.clip(value, kind.min, kind.max).astype(zero_point.dtype)

    return (
        zero_point.dtype.type(kind.min) if low is None else quantized(low),
        zero_point.dtype.type(kind.max) if high is None else quantized(high),
    )


def _constant(value: Any) -> Any:
    """The number that a value always is, as a NumPy scalar; None where it is none."""
    known = None if value is None else value.const_value
    return None if known is None or known.size != 1 else known.numpy().reshape(())[()]
