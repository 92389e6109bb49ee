"""Weight-only quantization: weights in fewer bits, activations and arithmetic as in FP32 or nearly."""

from collections.abc import Callable, Iterable
from typing import Any

import torch

from pytest_quant.errors import QuantStageError
from pytest_quant.quantize.names import kept
from pytest_quant.quantize.weights.codebook import Codebook
from pytest_quant.quantize.weights.compressed import Compressed, Weight, weights_of
from pytest_quant.quantize.weights.half import half
from pytest_quant.quantize.weights.int4 import int4
from pytest_quant.quantize.weights.int8 import Int8
from pytest_quant.variant.facts import Facts, Ranges
from pytest_quant.variant.recipe import Recipe

DTYPES = ("int8", "int4", "float16", "codebook")


def convert(module: Any, recipe: Recipe) -> Any:
    """The module with its weights compressed as a recipe of kind ``weight_only`` says."""
    return compress(
        module,
        recipe.dtype or DTYPES[0],
        bits=recipe.bits,
        per_channel=recipe.per_channel,
        keep_fp32=recipe.keep_fp32,
    )


def facts(recipe: Recipe) -> Facts:
    """Its arithmetic is float; blocks of 32 int4 values have a scale and an offset."""
    dtype = recipe.dtype or DTYPES[0]
    return Facts(
        f"weight_only in {dtype}",
        Ranges.NEVER,
        covers=None,
        bits={"int8": 8, "int4": 5, "float16": 16}.get(dtype, recipe.bits),
        scale_bytes=2 if dtype == "int8" else 0,
        fast_path=True,
    )


def compress(
    module: Any,
    dtype: str,
    *,
    bits: int = 4,
    per_channel: bool = True,
    keep_fp32: Iterable[str | type] = (),
) -> Any:
    """The module with its weights compressed: of Linear, convolutions, embeddings, RNNs, attention.

    Any parameter of two dimensions or more is a weight, normalisations' apart. It is compressed where
    that is smaller. Weights that are tied stay so.

    Args:
        module: our own copy of the FP32 model, in eval mode.
        dtype: ``int8``, ``int4``, ``float16`` or ``codebook``.
        bits: of a codebook's indices.
        per_channel: of int8, one scale for each output channel, else one for the tensor.
        keep_fp32: patterns or types of modules that stay FP32.

    Raises:
        QuantStageError: when there is nothing to compress, or a weight is out of range.
    """
    encode: dict[str, Callable[[Weight], Compressed]] = {
        "int8": lambda weight: Int8(weight.tensor, weight.axis, per_channel),
        "int4": lambda weight: int4(weight.tensor, weight.axis, weight.is_linear),
        "float16": lambda weight: half(weight.tensor, weight.is_linear),
        "codebook": lambda weight: Codebook(weight.tensor, bits),
    }
    form = f"a codebook of {bits} bits" if dtype == "codebook" else dtype
    fp32_names = kept(module, keep_fp32)
    done = 0
    with torch.no_grad():
        for weight in weights_of(module, fp32_names):
            _refuse_out_of_range(weight, form)
            compressed = encode[dtype](weight)
            if _bytes(compressed) < weight.tensor.nbytes:
                weight.replace(compressed)
                done += 1
    if not done:
        raise QuantStageError(
            "prepare",
            f"nothing to quantize: quant_model has no weights{' outside keep_fp32' if fp32_names else ''} "
            f"that are smaller in {form}. Weights are parameters of at least two "
            "dimensions, in float32.",
        )
    return module


def _refuse_out_of_range(weight: Weight, form: str) -> None:
    largest = float(weight.tensor.abs().max())
    limit = torch.finfo(torch.float16 if form == "float16" else torch.float32).max
    if not largest <= limit:  # also for NaN
        raise QuantStageError(
            "prepare",
            f"the weight {weight.name} has values up to {largest:g}, which {form} cannot hold. Keep "
            "its module FP32 with keep_fp32.",
        )


def _bytes(compressed: Compressed) -> int:
    return sum(v.nbytes for v in compressed.state_dict().values() if isinstance(v, torch.Tensor))
