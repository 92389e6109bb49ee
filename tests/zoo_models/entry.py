"""Entry: one model of the zoo, with made-up inputs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

WORDS = 12
IDS = 100


@dataclass(frozen=True, slots=True)
class Entry:
    """A model of the zoo.

    Args:
        name: of the model.
        library: that it is from.
        make: the model with random weights, in eval mode; nothing is downloaded.
        inputs: count and seed -> what one call takes, a tensor or named tensors.
    """

    name: str
    library: str
    make: Callable[[], nn.Module]
    inputs: Callable[[int, int], Any]


def images(count: int, side: int, seed: int) -> Tensor:
    """Made-up images [count, 3, side, side]: blurred patches with a little noise."""
    generator = torch.Generator().manual_seed(seed)
    patches = torch.randn(count, 3, 8, 8, generator=generator)
    blurred = nn.functional.interpolate(patches, size=(side, side), mode="bilinear")
    return blurred + 0.3 * torch.randn(count, 3, side, side, generator=generator)


def texts(count: int, seed: int) -> dict[str, Tensor]:
    """Made-up texts of 12 words, with a mask that leaves out the last words of every third one."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, IDS, (count, WORDS), generator=generator)
    mask = torch.ones_like(ids)
    mask[::3, -4:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def waves(count: int, samples: int, seed: int) -> Tensor:
    """Made-up sounds [count, samples]."""
    generator = torch.Generator().manual_seed(seed)
    pitch = 0.02 + 0.2 * torch.rand(count, 1, generator=generator)
    noise = 0.3 * torch.randn(count, samples, generator=generator)
    return (pitch * torch.arange(samples)).sin() + noise
