"""Stand-in: why a file gives other outputs than the model that it stands for, if not by rounding.

What commonly goes wrong on the way to a file is done to the model, one at a time: an axis, the order of
channels, a normalization, the order of classes. What makes its outputs the file's is what went wrong.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from pytest_quant.measure.other_outputs import CLEARLY, Change, outputs_for
from pytest_quant.runtimes.artefact import Artefact
from pytest_quant.variant.sqnr import sqnr
from pytest_quant.variant.variant import Variant

MEAN, DEVIATION = (
    (0.485, 0.456, 0.406),
    (0.229, 0.224, 0.225),
)  # of ImageNet, as torchvision has them
# x -> a x + b, and what it is.
SCALES = {
    "multiplied by 255": (255.0, 0.0),
    "divided by 255": (1 / 255, 0.0),
    "normalized by mean 0.5 and deviation 0.5": (2.0, -1.0),
    "normalized by mean 0.5 and deviation 0.5, backwards": (0.5, 0.5),
    "multiplied by 2": (2.0, 0.0),
    "divided by 2": (0.5, 0.0),
    "lowered by 0.5": (1.0, -0.5),
    "raised by 0.5": (1.0, 0.5),
}
MOST_CLASSES = 4096
STILL = 0.3  # of FP32's variation from sample to sample, below which the ranges are at fault


def why_unlike(variant: Variant) -> tuple[str, str] | None:
    """What makes its model's outputs those of a file, or why they are not, and what to do.

    Compared is how outputs change from sample to sample, since a file whose outputs hardly do is near to
    the model's for any inputs that are nearly equal.
    """
    if not isinstance(variant.model, Artefact):
        return None
    name = variant.model.path.name
    with variant.isolated():
        expected, own = outputs_for(variant.fp32), outputs_for(variant)
        if not expected or [t.shape for t in own] != [t.shape for t in expected]:
            return None
        if len(own[0]) > 1 and (moves := _spread(own) / (_spread(expected) or 1.0)) < STILL:
            return (
                f"The outputs of {name} hardly depend on its inputs: from sample to sample they vary "
                f"{moves:.2g} times as much as FP32's.",
                "Its ranges do not fit these inputs: calibrate it on real inputs, prepared as those "
                "of quant_eval_data (neither zeros nor of another scale).",
            )
        plain = sqnr(*map(_centred, (expected, own)))
        best, said = plain, None
        for what, change in _changes():
            try:
                found = sqnr(*map(_centred, (outputs_for(variant.fp32, change), own)))
            except Exception:  # what cannot be called so went wrong in another way
                continue
            if found > best:
                best, said = found, f"for inputs that are {what}"
        order = _order_of_classes(expected[0], own[0])
        if order is not None:
            found = sqnr(*map(_centred, (expected[:1], [own[0][:, order]])))
            if found > best:
                best, said = found, f"in another order: class 0 is its output {int(order[0])}"
    if said is None or best < max(plain, 0.0) + CLEARLY:
        return None
    return (
        f"It is not rounding: {name} gives what FP32 gives {said}: {best:.0f} dB from that, and "
        f"{plain:.0f} dB from what FP32 gives as it is.",
        "That is a fault of the export, or of its preprocessing: make the file anew from quant_model as it "
        "is called here.",
    )


def _centred(tensors: list[Any]) -> list[Any]:
    """Without what all samples have in common."""
    return [t - t.mean(0, keepdim=True) if t.ndim and len(t) > 1 else t for t in tensors]


def _spread(tensors: list[Any]) -> float:
    """How much outputs vary from sample to sample."""
    return float(sum(tensor.double().square().sum() for tensor in _centred(tensors)) ** 0.5)


def _changes() -> Iterator[tuple[str, Change]]:
    import torch

    mean, deviation = (torch.tensor(each)[:, None, None] for each in (MEAN, DEVIATION))
    of_images: dict[str, Change] = {
        "transposed (height and width)": lambda x: x.transpose(-1, -2).contiguous(),
        "with channels in the opposite order (RGB, BGR)": lambda x: x.flip(1),
        "flipped top to bottom": lambda x: x.flip(-2),
        "flipped left to right": lambda x: x.flip(-1),
        "normalized by ImageNet's mean and deviation": lambda x: (x - mean) / deviation,
        "normalized by these backwards (ImageNet's)": lambda x: x * deviation + mean,
    }
    for what, change in of_images.items():
        yield what, partial(_where, lambda x: x.ndim == 4, change)
    for what, (factor, offset) in SCALES.items():
        yield what, partial(_where, lambda x: True, partial(_scaled, factor, offset))


def _where(wanted: Callable[[Any], bool], change: Change, tensor: Any) -> Any:
    return change(tensor) if tensor.is_floating_point() and wanted(tensor) else tensor


def _scaled(factor: float, offset: float, tensor: Any) -> Any:
    return factor * tensor + offset


def _order_of_classes(expected: Any, own: Any) -> Any:
    """For each of FP32's outputs the file's that goes with it; None where that is no order, or the same."""
    import torch

    if expected.ndim != 2 or not 2 <= expected.shape[1] <= MOST_CLASSES or len(expected) < 4:
        return None
    left, right = (_standardized(each.double()) for each in (expected, own))
    order = (left.T @ right).argmax(1)
    count = expected.shape[1]
    if len(order.unique()) < count or torch.equal(order, torch.arange(count)):
        return None
    return order


def _standardized(columns: Any) -> Any:
    centred = columns - columns.mean(0)
    return centred / centred.norm(dim=0).clamp_min(1e-12)
