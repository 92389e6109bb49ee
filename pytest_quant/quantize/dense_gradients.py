"""Dense gradients: of embeddings that ask for sparse ones, which the built-in loop's Adam does not take."""

from typing import Any

import torch


def with_dense_gradients(prepared: Any) -> None:
    """Let no embedding of a prepared model have sparse gradients; it computes what it did.

    Args:
        prepared: changed in place.
    """
    lookup = torch.ops.aten.embedding.default
    for child in prepared.modules():
        if isinstance(child, torch.nn.Embedding | torch.nn.EmbeddingBag):
            child.sparse = False
        if isinstance(child, torch.fx.GraphModule):
            for node in child.graph.find_nodes(op="call_function", target=lookup):
                if len(node.args) > 4:  # weight, ids, padding_idx, scale_grad_by_freq, sparse
                    node.update_arg(4, False)
            child.recompile()
