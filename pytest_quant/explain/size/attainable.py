"""Attainable: how small a kind of quantization could make a model, if it took all that it can."""

from collections.abc import Iterable

from pytest_quant.explain.size.layer_bytes import LayerBytes
from pytest_quant.variant.recipe import Recipe

LINEAR = ("Linear",)
CONVOLUTIONS = tuple(f"Conv{kind}{n}d" for kind in ("", "Transpose") for n in (1, 2, 3))
RECURRENT = ("LSTM", "GRU", "LSTMCell", "GRUCell", "RNNCell")
EMBEDDINGS = ("Embedding", "EmbeddingBag")
NORMS = ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "LayerNorm", "GroupNorm", "RMSNorm")
FOLDED = 4  # of a BatchNorm's four numbers for each channel one is left
SCALES = 16  # bytes of a channel's scale and zero point, in int8
SCALES_PT2E, SCALES_EMBEDDING, SCALES_WEIGHT_ONLY = 12, 8, 2
# Bytes for each of FP32's, of weights alone; of int4 with the scale and offset of each 32 values.
COMPRESSED = {"int8": 1 / 4, "int4": (0.5 + 4 / 32) / 4, "float16": 1 / 2}


def takes(recipe: Recipe, held: LayerBytes) -> bool:
    """Whether a recipe of this kind and flow has a smaller form for what a layer holds."""
    if recipe.kind in ("weight_only", "cast"):
        return bool(held.type) and held.type not in NORMS
    if recipe.kind == "dynamic":
        return held.type in (LINEAR if recipe.flow == "pt2e" else LINEAR + RECURRENT + EMBEDDINGS)
    if recipe.kind in ("static", "qat"):
        covered = LINEAR + CONVOLUTIONS
        return held.type in (covered if recipe.flow == "pt2e" else covered + EMBEDDINGS)
    return False


def least_bytes(
    recipe: Recipe, parts: Iterable[LayerBytes], *, unbuilt: bool = False
) -> int | None:
    """Bytes of a model, were all in it small that a recipe of this kind can make small.

    Args:
        recipe: of any kind; what it keeps FP32 counts as small too.
        parts: what the model's layers hold: FP32, or the variant as it is.
        unbuilt: whether BatchNorm is still to be folded into the layer before it, which leaves a bias.

    Returns:
        None for a custom recipe, of which nothing is known.
    """
    if recipe.kind == "custom":
        return None
    folds = unbuilt and recipe.kind in ("static", "qat")
    return round(
        sum(
            held.bytes / FOLDED if folds and held.type in NORMS[:3] else _least(recipe, held)
            for held in parts
        )
    )


def _least(recipe: Recipe, held: LayerBytes) -> float:
    if held.dtype != "FP32" or not takes(recipe, held):
        return held.bytes
    rest = held.bytes - held.weight_bytes
    if recipe.kind == "cast":
        return held.bytes / 2
    if recipe.kind == "weight_only":
        share = COMPRESSED.get(str(recipe.dtype), recipe.bits / 32)
        scales = SCALES_WEIGHT_ONLY * held.channels if recipe.dtype == "int8" else 0
        return rest + held.weight_bytes * share + scales
    return rest + held.weight_bytes / 4 + _scales(recipe, held) * held.channels


def _scales(recipe: Recipe, held: LayerBytes) -> int:
    """Bytes of each channel's scale and zero point; a row of an embedding has its own in any case."""
    if held.type in EMBEDDINGS:
        return SCALES_EMBEDDING
    if not recipe.per_channel or held.type in RECURRENT:
        return 0
    return SCALES_PT2E if recipe.flow == "pt2e" else SCALES
