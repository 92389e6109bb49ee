"""Rows: inputs of Linear laid out row by row, so that torchao's patterns hold for any sizes."""

from typing import Any

import torch


def in_rows(graph: Any) -> Any:
    """Let the activation of each Linear be contiguous before it is quantized.

    Attention multiplies a transposed text. Of such a product inductor makes one of expanded batches, for
    which torchao's pattern compares sizes that must be numbers: with free sizes it raises a TypeError.

    Args:
        graph: converted, which is changed.

    Returns:
        The same graph.
    """
    aten = torch.ops.aten
    for node in list(graph.graph.find_nodes(op="call_function", target=aten.linear.default)):
        quantized = _source(node.args[0], "dequantize_per_tensor")
        source = None if quantized is None else _source(quantized, "quantize_per_tensor")
        if quantized is None or source is None or source.target is aten.contiguous.default:
            continue
        with graph.graph.inserting_before(quantized):
            rows = graph.graph.call_function(aten.contiguous.default, (source,))
            rows.meta = dict(source.meta)
        quantized.update_arg(0, rows)
    graph.recompile()
    return graph


def _source(node: Any, operation: str) -> Any | None:
    """What an operation of a converted graph is done to; None for a node that is another one."""
    name = str(getattr(node, "target", ""))
    return node.args[0] if name.startswith(f"quantized_decomposed.{operation}.") else None
