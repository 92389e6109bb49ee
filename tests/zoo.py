"""Zoo: torchvision's classifiers through the package, and the page that says how they fared.

    python tests/zoo.py    # builds all of them, and writes reports/zoo.md

The architectures are real, their weights random: this is a test of what can be built and how much
of it becomes int8, not of accuracy.
"""

import gc
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import torchvision
from tabulate import tabulate
from torch import Tensor, nn

from pytest_quant import Recipe, Subject
from pytest_quant.errors import QuantStageError
from pytest_quant.machine.conditions import Conditions
from pytest_quant.machine.cpu import cpu_name
from pytest_quant.store.open import open_store
from pytest_quant.variant.sqnr import sqnr
from pytest_quant.variant.variant import Variant

PAGE = Path(__file__).parents[1] / "reports" / "zoo.md"
SIDE = 64  # pixels
SAMPLES, BATCH = 16, 8
NO_AUX = {"aux_logits": False, "init_weights": True}
# name -> arguments of torchvision's builder
MODELS: dict[str, dict[str, Any]] = {
    "alexnet": {},
    "convnext_tiny": {},
    "densenet121": {},
    "efficientnet_b0": {},
    "efficientnet_v2_s": {},
    "googlenet": NO_AUX,
    "inception_v3": NO_AUX,
    "mnasnet0_5": {},
    "mnasnet1_0": {},
    "mobilenet_v2": {},
    "mobilenet_v3_large": {},
    "mobilenet_v3_small": {},
    "regnet_x_400mf": {},
    "regnet_y_400mf": {},
    "resnet18": {},
    "resnet34": {},
    "resnet50": {},
    "resnext50_32x4d": {},
    "shufflenet_v2_x0_5": {},
    "shufflenet_v2_x1_0": {},
    "squeezenet1_0": {},
    "squeezenet1_1": {},
    "swin_t": {},
    "swin_v2_t": {},
    "vgg11_bn": {},
    "vit_b_16": {"image_size": SIDE},
    "vit_b_32": {"image_size": SIDE},
    "wide_resnet50_2": {},
}
# Flow auto would try pt2e too, and compile these for minutes.
FLOWS = dict.fromkeys(("swin_t", "swin_v2_t", "vit_b_16", "vit_b_32"), "fx")
SIDES = {"inception_v3": 96}  # which takes no smaller images


@dataclass(frozen=True, slots=True)
class Fared:
    """What became of one model.

    Args:
        model: torchvision's name.
        flow: that the static variant took.
        sqnr: signal to quantization noise ratio of the static variant's logits, in dB.
        sqnr_between: the same of what differs between images, each class's mean taken away: at most
            about 0 dB for a network that gives all images the same logits.
        parameters, macs: int8 shares of the static variant, in [0, 1]; None when unknown.
        dynamic_sqnr, dynamic_parameters: of the dynamic variant; None when it has nothing to quantize.
        fp32_mb, static_mb: 10**6 bytes of tensors.
        finite: whether every logit of both variants is.
        notes: why a flow was refused, or there is no dynamic variant.
    """

    model: str
    flow: str
    sqnr: float
    sqnr_between: float
    parameters: float | None
    macs: float | None
    dynamic_sqnr: float | None
    dynamic_parameters: float | None
    fp32_mb: float
    static_mb: float
    finite: bool
    notes: tuple[str, ...]


def fared(name: str) -> Fared:
    """Build a model's static and dynamic variants and compare them with FP32.

    Raises:
        QuantStageError: when a variant cannot be built.
    """
    gc.collect()  # the model before, whose graphs refer to themselves
    side = SIDES.get(name, SIDE)
    shown = images(SAMPLES, side, seed=1).split(BATCH)
    subject = Subject(
        model(name, side),
        name,
        eval_data=[(batch, torch.zeros(len(batch), dtype=torch.long)) for batch in shown],
        calibration_data=images(SAMPLES, side, seed=2).split(BATCH),
    )
    store = open_store(Conditions(threads=1))
    fp32 = store.fp32(subject)
    recipe = Recipe("static", flow=FLOWS.get(name, "auto"), calibration_samples=SAMPLES)
    static = store.variant(subject, recipe)
    expected, got = logits(fp32, shown), logits(static, shown)
    try:
        dynamic = store.variant(subject, Recipe("dynamic"))
    except QuantStageError as error:
        if "nothing to quantize" not in str(error):
            raise
        without, finite = ("no Linear for dynamic quantization",), True
        dynamic_sqnr = dynamic_parameters = None
    else:
        dynamic_got, without = logits(dynamic, shown), ()
        finite, dynamic_sqnr = is_finite(dynamic_got), sqnr(expected, dynamic_got)
        dynamic_parameters = dynamic.int8_share.parameters
    assert static.recipe is not None
    return Fared(
        name,
        static.recipe.flow,
        sqnr(expected, got),
        sqnr(expected - expected.mean(0), got - got.mean(0)),
        static.int8_share.parameters,
        static.int8_share.macs,
        dynamic_sqnr,
        dynamic_parameters,
        fp32.size.tensor_bytes / 1e6,
        static.size.tensor_bytes / 1e6,
        finite and is_finite(got),
        (*static.notes, *without),
    )


def model(name: str, side: int) -> nn.Module:
    """A classifier with seeded weights that let small differences through, neither more nor less.

    Batch normalization gets the statistics of made-up images, and biases of 1: with 0, ReLU cuts off
    every second value, and such a network of random weights multiplies any noise from layer to layer
    until even a good int8 model's logits are noise. What starts as zero, or nearly (ViT's head and
    class token, the blocks of ConvNeXt), gets values, for else it has no part in the logits.
    """
    torch.manual_seed(0)
    module = torchvision.models.get_model(name, weights=None, **MODELS[name]).eval()
    for child in module.modules():
        if isinstance(child, nn.Linear) and not child.weight.any():
            nn.init.trunc_normal_(child.weight, std=0.02)
        if hasattr(child, "class_token"):
            nn.init.normal_(child.class_token)
        if hasattr(child, "layer_scale"):
            nn.init.ones_(child.layer_scale)
    norms = [child for child in module.modules() if isinstance(child, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.ones_(norm.bias)
        norm.momentum = None  # all batches count alike
        norm.reset_running_stats()
        norm.train()
    if norms:
        with torch.no_grad():
            for batch in images(64, side, seed=3).split(32):
                module(batch)
    return module.eval()


def images(count: int, side: int, seed: int) -> Tensor:
    """Made-up images [count, 3, side, side]: blurred patches with a little noise."""
    generator = torch.Generator().manual_seed(seed)
    patches = torch.randn(count, 3, 8, 8, generator=generator)
    blurred = nn.functional.interpolate(patches, size=(side, side), mode="bilinear")
    return blurred + 0.3 * torch.randn(count, 3, side, side, generator=generator)


def logits(variant: Variant, batches: Iterable[Tensor]) -> Tensor:
    """Of all batches, [samples, classes]."""
    return torch.cat([variant(batch) for batch in batches])


def is_finite(tensor: Tensor) -> bool:
    return bool(tensor.isfinite().all())


def row(name: str) -> tuple[object, ...]:
    """A model's row of the page; one that cannot be built has its error there."""
    try:
        it = fared(name)
    except QuantStageError as error:
        return (name, *[None] * (len(HEADS) - 2), str(error))
    return (
        name,
        it.flow,
        f"{it.sqnr:.1f}",
        f"{it.sqnr_between:.1f}",
        percent(it.parameters),
        percent(it.macs),
        None if it.dynamic_sqnr is None else f"{it.dynamic_sqnr:.1f}",
        percent(it.dynamic_parameters),
        f"{it.fp32_mb:.2f} → {it.static_mb:.2f}",
        "; ".join(it.notes),
    )


def percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.2f} %"


HEADS = (
    "model",
    "flow",
    "SQNR dB",
    "between images",
    "int8 parameters",
    "int8 macs",
    "dynamic SQNR dB",
    "dynamic int8",
    "MB",
    "note",
)


def page(rows: list[tuple[object, ...]]) -> str:
    """The page, in Markdown."""
    align = ("left", "left", *["right"] * 7, "left")
    table = tabulate(rows, HEADS, tablefmt="pipe", colalign=align, disable_numparse=True)
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision"))
    return f"""# torchvision's classifiers in int8

Written by `python tests/zoo.py`, which builds each one's static and dynamic variant with
`flow="auto"`, or `"fx"` where the model has attention (`auto` would try pt2e there too, and compile
it for minutes).
{versions}, 1 thread, {cpu_name()}.

The weights are random, the images made up ({SAMPLES} of them calibrate, {SAMPLES} others are compared):
this shows what can be built and how much of it becomes int8. The signal to quantization noise ratio (SQNR)
of the logits says that the int8 model computes what FP32 does; it says nothing of accuracy, nor of what
trained weights would give. *Between images* is the SQNR of what differs from image to image, without each
class's mean. Where nothing else is said, a column is about the static variant.

Attention's own layers stay FP32 where FX takes them as a whole (ViT), or where the model reads their
weights itself (Swin, which pads images as small as these to whole windows, so that most multiply-adds are
there).

{table}
"""


def main() -> None:
    rows = []
    for name in MODELS:
        rows.append(row(name))
        print(*rows[-1], sep=" | ", flush=True)
    PAGE.write_text(page(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
