"""Outcome: what one contender found, as its process tells it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a model was mended.

    Args:
        before: drop in top-1 with everything quantized, as a share.
        kept: layers (convolutions and matrix products) that stay FP32 in the end.
        layers: that there are.
        full: evaluations of all validation samples in the search.
        part: samples that the search evaluated apart from those.
        search: its seconds.
        seconds: in all, with the quantization and evaluation of the model that fails.
        accuracy: top-1 of the mended model.
        drop: of it.
        sqnr: of its logits, in dB.
        note: what else there is to say.
    """

    before: float
    kept: int
    layers: int
    full: int
    part: int
    search: float
    seconds: float
    accuracy: float
    drop: float
    sqnr: float
    note: str = ""
