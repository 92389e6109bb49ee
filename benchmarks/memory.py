"""Peak memory of an accuracy gate as the eval set grows: masks of 64 x 64 as targets, made batch by batch.

    python benchmarks/memory.py

Each number of samples has a process of its own, which builds a dynamic variant and judges it against FP32.
All targets kept would be 33 kB a sample. What stays are each sample's score and digest, 50 bytes or so.
"""

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Iterator

import torch

from pytest_quant import Conditions, Metric, Recipe, Subject, assert_max_accuracy_drop, open_store

BATCH, SIDE, CLASSES = 50, 64, 4


class Masks:
    """Batches of images and masks that are nowhere but in the batch at hand.

    Args:
        samples: a multiple of the batch.
    """

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        generator = torch.Generator().manual_seed(0)
        for _ in range(self.samples // BATCH):
            images = torch.randn(BATCH, SIDE, SIDE, CLASSES, generator=generator)
            yield images, images.argmax(-1)


class Segmenter(torch.nn.Module):
    """Names the highest channel of each pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Linear(CLASSES, CLASSES)
        torch.nn.init.eye_(self.head.weight)
        torch.nn.init.zeros_(self.head.bias)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """[batch, side, side, classes] -> logits of the same shape."""
        logits: torch.Tensor = self.head(images)
        return logits


def pixel_accuracy(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Of each sample, in [0, 1]."""
    return (logits.argmax(-1) == masks).float().mean((1, 2))


def peak_of(samples: int) -> None:
    """Print megabytes before the gate, at its peak, and its seconds."""
    metric = Metric(pixel_accuracy, "pixels", higher_is_better=True)
    subject = Subject(Segmenter().eval(), eval_data=Masks(samples), metric=metric)
    variant = open_store(Conditions(threads=1)).variant(subject, Recipe("dynamic"))
    before, start = _peak(), time.perf_counter()
    assert_max_accuracy_drop(variant, 0.05)
    print(before, _peak(), time.perf_counter() - start)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """A table, one line for each number of samples."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, nargs="+", default=[1_000, 10_000, 50_000])
    parser.add_argument("--peak-of", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.peak_of:
        return peak_of(given.peak_of)
    print(f"{'samples':>9}  {'MB at the door':>14}  {'MB at the peak':>14}  {'seconds':>7}")
    for samples in given.samples:
        command = [sys.executable, __file__, "--peak-of", str(samples)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        before, peak, seconds = map(float, output.split()[-3:])
        print(f"{samples:>9,}  {before:>14.0f}  {peak:>14.0f}  {seconds:>7.1f}", flush=True)
    return None


if __name__ == "__main__":
    main()
