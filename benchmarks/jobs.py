"""Evaluation on several processes: what it gains on this machine, and what it would gain on a larger one.

    python benchmarks/jobs.py [--samples 2048] [--rounds 3]

Measured: ResNet-50 (random weights) on images of 224 pixels, one process of two threads beside two
processes of one thread, round by round. Simulated, and marked so: 50,000 images on 1 to 256 cores, from
what was measured here: the start of a worker, the packing and loading of a model, the time of a batch
on one thread, and parts that are dealt out as workers become free.
"""

import argparse
import heapq
import statistics
import time

import torch
import torchvision
from tabulate import tabulate

from pytest_quant import Conditions, Recipe, Subject, open_store
from pytest_quant.machine.cpu import cpu_name
from pytest_quant.store.spread.spread import PARTS, Spread

BATCH, WHOLE = 32, 50_000
CORES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Images(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    """Images that are made when they are asked for."""

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        generator = torch.Generator().manual_seed(index)
        return torch.randn(3, 224, 224, generator=generator), index % 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--samples", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.manual_seed(0)
    model = torchvision.models.resnet50().eval()
    loader = torch.utils.data.DataLoader(Images(options.samples), batch_size=BATCH)
    calibration = [torch.randn(BATCH, 3, 224, 224)]
    recipe = Recipe("static", flow="fx", calibration_samples=BATCH)
    print(f"{cpu_name()}; torch {torch.__version__}; {options.samples} samples, batches of {BATCH}")

    def seconds(threads: int, spread: Spread | None) -> tuple[float, float]:
        """Of one evaluation of FP32 and one of static."""
        store = open_store(Conditions(threads=threads), spread=spread)
        subject = Subject(model, eval_data=loader, calibration_data=calibration)
        fp32, found = store.fp32(subject), []
        for variant in (fp32, store.variant(subject, recipe)):
            start = time.perf_counter()
            _ = variant.evaluation
            found.append(time.perf_counter() - start)
        return found[0], found[1]

    spread = Spread(2)
    start = time.perf_counter()
    cold = seconds(1, spread)  # with the start of the workers
    started = time.perf_counter() - start
    rows = []
    for _ in range(options.rounds):
        one, two = seconds(2, None), seconds(1, spread)
        rows.append((*one, *two, one[0] / two[0], one[1] / two[1]))
    alone = seconds(1, None)
    spread.close()
    medians = [statistics.median(column) for column in zip(*rows, strict=True)]
    header = ("", "1 x 2 threads, s", "2 x 1 thread, s", "gain", "1 x 1 thread, s")
    table = [
        ("FP32", medians[0], medians[2], medians[4], alone[0]),
        ("static", medians[1], medians[3], medians[5], alone[1]),
    ]
    print(tabulate(table, header, floatfmt=".2f"))
    overhead = max(0.0, cold[0] - medians[2])
    batches = -(-options.samples // BATCH)
    simulated(overhead, alone[0] / batches, alone[1] / batches)
    print(f"(the first run, with the start of the workers: {started:.1f} s)")


def simulated(start: float, fp32: float, static: float) -> None:
    """A table by simulation: parts of batches, dealt out to workers of one core each."""
    print(
        f"\nSimulated: {WHOLE:,} samples; start and loading {start:.1f} s for each worker, a batch on "
        f"one core {fp32:.2f} s (FP32) and {static:.2f} s (static)"
    )
    rows = []
    for cores in CORES:
        times = [start + makespan(cores, each) for each in (fp32, static)]
        rows.append((cores, *times))
    first = rows[0]
    rows = [(*row, first[1] / row[1], first[2] / row[2]) for row in rows]
    print(tabulate(rows, ("cores", "FP32, s", "static, s", "gain", "gain"), floatfmt=".1f"))


def makespan(cores: int, batch: float) -> float:
    """Seconds until the last of the parts is done."""
    batches = -(-WHOLE // BATCH)
    size = max(1, -(-batches // (cores * PARTS)))
    parts = [min(size, batches - i) * batch for i in range(0, batches, size)]
    free = [0.0] * cores
    for part in parts:
        heapq.heapreplace(free, free[0] + part)
    return max(free)


if __name__ == "__main__":
    main()
