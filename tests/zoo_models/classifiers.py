"""Classifiers: torchvision's, with weights that let small differences through."""

from functools import partial
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from zoo_models.entry import Entry, images

SIDE = 64  # pixels
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
SIDES = {"inception_v3": 96}  # which takes no smaller images


def model(name: str, side: int) -> nn.Module:
    """A classifier with seeded weights that let small differences through, neither more nor less.

    Batch normalization gets the statistics of made-up images, and biases of 1: with 0, ReLU cuts off
    every second value, and such a network of random weights multiplies any noise from layer to layer
    until even a good int8 model's logits are noise. What starts as zero, or nearly (ViT's head and
    class token, the blocks of ConvNeXt), gets values, for else it has no part in the logits.
    """
    torch.manual_seed(0)
    return awake(torchvision.models.get_model(name, weights=None, **MODELS[name]).eval(), side)


def awake(module: nn.Module, side: int) -> nn.Module:
    """A network that takes images, with the statistics and values as in `model`."""
    for child in module.modules():
        if isinstance(child, nn.Linear) and not child.weight.any():
            nn.init.trunc_normal_(child.weight, std=0.02)
        if hasattr(child, "class_token"):
            nn.init.normal_(child.class_token)
        if isinstance(getattr(child, "layer_scale", None), Tensor):  # timm has an Identity too
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


def _images(side: int, count: int, seed: int) -> Tensor:
    return images(count, side, seed)


ENTRIES = tuple(
    Entry(name, "torchvision", partial(model, name, side), partial(_images, side))
    for name, side in ((name, SIDES.get(name, SIDE)) for name in MODELS)
)
