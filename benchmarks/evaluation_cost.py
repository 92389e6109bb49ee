"""What an evaluation costs beside a bare loop over the same batches, which only runs the model and counts.

Both passes run turn by turn in one process, in an order that a coin decides; printed are the median and
the quartiles of the ratios of their wall times, and the median of those of their CPU times, which a busy
machine moves less.
"""

import random
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from pytest_quant.machine.conditions import Conditions
from pytest_quant.measure.accuracy import evaluate
from pytest_quant.store.open import open_store
from pytest_quant.subject.subject import Subject
from pytest_quant.variant.recipe import Recipe

BATCH = 16
PIXELS = {
    224: 32,
    32: 128,
}  # of a side: batches of a pass, which outweigh what each pass costs once


def evaluation_rows(rounds: int) -> Iterator[str]:
    """A line for each size of images, model and number of threads: the ratio."""
    from torchvision.models import mobilenet_v2

    torch.manual_seed(0)
    for pixels, count in PIXELS.items():
        model = mobilenet_v2(num_classes=100).eval()
        batches = [_batch(pixels) for _ in range(count)]
        for threads in (1, 2):
            conditions = Conditions(threads=threads)
            store = open_store(conditions)
            subject = Subject(
                model, "mobilenet_v2", eval_data=batches, calibration_data=[_batch(pixels)]
            )
            for variant in (store.fp32(subject), store.variant(subject, Recipe("static"))):
                _ = variant.fp32.evaluation
                wall, cpu, bare = _ratios(variant, batches, conditions, rounds)
                low, middle, high = statistics.quantiles(wall, n=4)
                yield (
                    f"{pixels:3} px  {variant.name:6}  threads {threads}  wall {middle:.3f} "
                    f"({low:.3f} .. {high:.3f})  CPU {statistics.median(cpu):.3f}  "
                    f"bare {1e3 * bare / BATCH / count:.2f} ms an image"
                )


def _batch(pixels: int) -> tuple[Any, Any]:
    return torch.randn(BATCH, 3, pixels, pixels), torch.randint(100, (BATCH,))


def _ratios(
    variant: Any, batches: list[Any], conditions: Conditions, rounds: int
) -> tuple[list[float], list[float], float]:
    """Of `rounds` rounds the ratios of wall and of CPU times, and the median seconds of the bare loop."""
    coin = random.Random(0)

    def ours() -> None:
        evaluate(variant, conditions)

    def bare() -> None:
        hits = 0
        for x, y in batches:
            hits += int((variant.model(x).argmax(1) == y).sum())

    wall, cpu, seconds = [], [], []
    for turn in range(rounds + 1):
        took: dict[Callable[[], None], tuple[float, float]] = {}
        for run in sorted((ours, bare), key=lambda _: coin.random()):
            with variant.isolated(), variant.running():
                start, start_cpu = time.perf_counter(), time.process_time()
                run()
                took[run] = time.perf_counter() - start, time.process_time() - start_cpu
        if turn:  # the first one warms up
            wall.append(took[ours][0] / took[bare][0])
            cpu.append(took[ours][1] / took[bare][1])
            seconds.append(took[bare][0])
    return wall, cpu, statistics.median(seconds)
