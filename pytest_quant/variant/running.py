"""Running: the context in which a quantized model runs as it was built."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from pytest_quant.machine import torch_api
from pytest_quant.machine.conditions import engine_set, known_warnings_silenced
from pytest_quant.variant.facts import Facts
from pytest_quant.variant.recipe import Recipe


@contextmanager
def running_as_built(model: Any, recipe: Recipe | None, facts: Facts) -> Iterator[None]:
    """In which a quantized model runs as it was built: its engine, inference mode, its attention.

    PyTorch's attention fast path reads FP32 weights and fails on an int8 layer, so it is off around
    such a model, and only there: off for FP32 too, a variant that is slower than the FP32 model
    that ships would pass. A cast model, and one of compressed weights, can take it.

    Args:
        recipe: that it was built after; None for FP32.
        facts: of its method.
    """
    import torch

    with ExitStack() as stack:
        stack.enter_context(known_warnings_silenced())
        stack.enter_context(torch.inference_mode())
        if recipe is not None and recipe.engine is not None:
            stack.enter_context(engine_set(recipe.engine))
        if not facts.fast_path and _has_attention(model):
            stack.enter_context(torch_api.without_fast_path())
        yield


def _has_attention(model: Any) -> bool:
    import torch

    kinds = (torch.nn.MultiheadAttention, torch.nn.TransformerEncoderLayer)
    return isinstance(model, torch.nn.Module) and any(isinstance(m, kinds) for m in model.modules())
