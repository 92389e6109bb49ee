"""Compile seconds: about how long inductor takes to compile a graph, said before it does."""

from typing import Any

AT_LEAST = 4.0  # seconds: of a single Linear
EACH = 0.05  # seconds: of an operation


def compile_seconds(model: Any) -> float:
    """An estimate from the number of operations of a converted graph."""
    return AT_LEAST + EACH * sum(
        1 for node in model.graph.graph.nodes if node.op == "call_function"
    )
