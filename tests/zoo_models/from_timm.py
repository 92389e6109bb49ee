"""From timm: small networks, most of them of kinds that torchvision has not."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from zoo_models.classifiers import SIDE, awake
from zoo_models.entry import Entry, images

MODELS: dict[str, dict[str, Any]] = {
    "convnextv2_atto": {},
    "edgenext_xx_small": {},
    "efficientvit_b0": {},
    "ghostnet_100": {},
    "hardcorenas_a": {},
    "mobilenetv4_conv_small": {},
    "mobilevit_xxs": {},
    "repvgg_a0": {},
    "tf_efficientnet_lite0": {},
    "vit_tiny_patch16_224": {"img_size": SIDE},
}


def _made(name: str) -> nn.Module:
    import timm

    torch.manual_seed(0)
    return awake(timm.create_model(name, pretrained=False, **MODELS[name]).eval(), SIDE)


def _images(count: int, seed: int) -> Tensor:
    return images(count, SIDE, seed)


ENTRIES = tuple(Entry(name, "timm", partial(_made, name), _images) for name in MODELS)
