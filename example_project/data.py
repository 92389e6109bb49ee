"""The images of this example: scikit-learn's handwritten digits, or CIFAR-10.

The digits are 1797 real scans that scikit-learn brings along, so nothing is downloaded. To use
CIFAR-10 instead, set the environment variable CIFAR10_ROOT to the folder that holds
`cifar-10-batches-py`. Both come as 3x32x32 images in 10 classes, so the same models serve both.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset
from torchvision import transforms
from torchvision.datasets import CIFAR10

SEED = 0
EVAL_DIGITS = 540  # 30 % of the digits
CALIBRATION_SAMPLES = 200

# The usual mean and standard deviation of CIFAR-10's training images, per channel.
CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_STD = (0.2470, 0.2435, 0.2616)


def dataset_name() -> str:
    """Which images are used: "cifar10" when CIFAR10_ROOT is set, else "digits"."""
    return "cifar10" if os.environ.get("CIFAR10_ROOT") else "digits"


def train_loader(batch_size: int = 64) -> DataLoader:
    """The training images, in another order each epoch.

    The order comes from a generator of the loader's own: the same in each run, whatever else
    draws random numbers.
    """
    train, _ = train_and_eval_sets()
    generator = torch.Generator().manual_seed(SEED)
    return DataLoader(train, batch_size=batch_size, shuffle=True, generator=generator)


def eval_loader(batch_size: int = 32) -> DataLoader:
    """The images that no model was trained or calibrated on."""
    _, held_out = train_and_eval_sets()
    return DataLoader(held_out, batch_size=batch_size)


def calibration_loader(batch_size: int = 32) -> DataLoader:
    """The first training images: what static quantization observes."""
    train, _ = train_and_eval_sets()
    first = range(min(CALIBRATION_SAMPLES, len(train)))  # both sets are in random order already
    return DataLoader(Subset(train, first), batch_size=batch_size)


def train_and_eval_sets() -> tuple[Dataset, Dataset]:
    """Two datasets of (image, label) with no image in common."""
    root = os.environ.get("CIFAR10_ROOT")
    return _cifar10(Path(root)) if root else _digits()


def _digits() -> tuple[Dataset, Dataset]:
    """Digits upscaled from 8x8 to 32x32, grey in three channels, values from -1 to 1.

    The split is stratified: each class has the same share of both sets. No two digits have the
    same pixels, so a split by index keeps the two sets apart.
    """
    digits = load_digits()
    grey = torch.from_numpy(digits.images).float().unsqueeze(1) / 16  # scikit-learn gives 0 to 16
    large = interpolate(grey, size=(32, 32), mode="bilinear", align_corners=False)
    images = large.expand(-1, 3, -1, -1).contiguous() * 2 - 1
    labels = torch.from_numpy(digits.target)
    train, held_out = train_test_split(
        range(len(labels)), test_size=EVAL_DIGITS, stratify=digits.target, random_state=SEED
    )
    return TensorDataset(images[train], labels[train]), TensorDataset(
        images[held_out], labels[held_out]
    )


def _cifar10(root: Path) -> tuple[Dataset, Dataset]:
    """CIFAR-10's own training and test images, each channel normalised."""
    if not (root / CIFAR10.base_folder).is_dir():
        raise FileNotFoundError(
            f"CIFAR10_ROOT is {str(root)!r}, which has no folder {CIFAR10.base_folder!r}: unpack "
            f"{CIFAR10.filename} there, or unset CIFAR10_ROOT to use the digits."
        )
    transform = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize(CIFAR10_MEAN, CIFAR10_STD)]
    )
    train = CIFAR10(root, train=True, transform=transform, download=False)
    return train, CIFAR10(root, train=False, transform=transform, download=False)
