"""Dynamic quantization: int8 weights, activations quantized as they come (`quantize_dynamic`)."""

import importlib
from typing import Any

from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.quantize.names import kept
from pytest_quant.recipe import Recipe

COVERED = "Linear, LSTM, GRU, RNNCell, LSTMCell, GRUCell, Embedding and EmbeddingBag"


def convert(module: Any, recipe: Recipe, engine: str) -> Any:
    """The module with every layer quantized for which PyTorch has dynamic kernels.

    Args:
        module: our own copy of the FP32 model.
        recipe: `per_channel` applies to Linear; recurrent layers have one scale for each weight.
        engine: already set by the caller.

    Raises:
        QuantStageError: when there is nothing to quantize, or PyTorch cannot.
    """
    import torch

    ao: Any = importlib.import_module("torch.ao.quantization")

    fp32_names = kept(module, recipe.keep_fp32)
    linear = ao.per_channel_dynamic_qconfig if recipe.per_channel else ao.default_dynamic_qconfig
    nn = torch.nn
    by_type: dict[type, Any] = {nn.Linear: linear}
    recurrent = (nn.LSTM, nn.GRU, nn.LSTMCell, nn.GRUCell, nn.RNNCell)
    by_type |= dict.fromkeys(recurrent, ao.default_dynamic_qconfig)
    by_type |= dict.fromkeys((nn.Embedding, nn.EmbeddingBag), ao.float_qparams_weight_only_qconfig)
    chosen = {
        name: by_type[type(child)]
        for name, child in module.named_modules()
        if type(child) in by_type and name not in fp32_names and _has_kernel(child)
    }
    if not chosen:
        raise QuantStageError(
            "prepare",
            f"nothing to quantize: dynamic quantization has kernels for {COVERED}, and "
            f"quant_model has none of them{' outside keep_fp32' if fp32_names else ''}. Static "
            "quantization also covers convolutions.",
        )
    if "" in chosen:  # the model is itself such a layer, and quantize_dynamic only swaps children
        return convert_alone(module, chosen[""])
    try:
        return ao.quantize_dynamic(module, chosen, inplace=True)
    except Exception as error:
        raise QuantStageError(
            "convert",
            f"quantize_dynamic could not take quant_model: {in_brief(error)}. Keep the "
            "layer FP32 with keep_fp32, or use static quantization.",
        ) from error


def convert_alone(layer: Any, qconfig: Any) -> Any:
    """A model that is one single layer, quantized: held by a Sequential, then taken out again."""
    import torch

    ao: Any = importlib.import_module("torch.ao.quantization")

    return ao.quantize_dynamic(torch.nn.Sequential(layer), {"0": qconfig}, inplace=True)[0]


def _has_kernel(module: Any) -> bool:
    """PyTorch's int8 LSTM has no projection; its EmbeddingBag only sums, its Embedding no max_norm."""
    if getattr(module, "proj_size", 0):
        return False
    if getattr(module, "mode", "sum") != "sum" and hasattr(module, "embedding_dim"):
        return False
    return getattr(module, "max_norm", None) is None
