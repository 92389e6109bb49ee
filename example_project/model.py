"""The two FP32 models of this example: a small CNN, and ResNet-18 as torchvision gives it.

Both take 3x32x32 images and answer with the logits of 10 classes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torchvision
from torch import nn

NUM_CLASSES = 10


class SmallCNN(nn.Module):
    """Three conv blocks and a wide classifier: 4.58 M parameters, 18.3 MB in FP32.

    The classifier's first layer holds 92 % of the parameters. That is why dynamic quantization,
    which takes the linear layers only, makes this model much smaller and ResNet-18 hardly at all.
    """

    def __init__(self, num_classes: int = NUM_CLASSES) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _conv_block(3, 64),  # 32x32 -> 16x16
            _conv_block(64, 128),  # -> 8x8
            _conv_block(128, 256),  # -> 4x4
        )
        self.classifier = nn.Sequential(
            nn.Linear(256 * 4 * 4, 1024),
            nn.ReLU(inplace=True),
            nn.Linear(1024, num_classes),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (batch, num_classes) of images (batch, 3, 32, 32)."""
        return self.classifier(torch.flatten(self.features(images), 1))


def _conv_block(in_channels: int, out_channels: int) -> nn.Sequential:
    """Convolution, batch norm, ReLU, and a pooling that halves height and width."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
    )


def resnet18(num_classes: int = NUM_CLASSES) -> nn.Module:
    """ResNet-18 with random weights; the stem is the one for ImageNet, unchanged."""
    return torchvision.models.resnet18(weights=None, num_classes=num_classes)


MODELS: dict[str, Callable[[], nn.Module]] = {"cnn": SmallCNN, "resnet18": resnet18}
