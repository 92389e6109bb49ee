"""A process that builds one contender and times it round by round, as it is told on standard input.

It answers with lines of JSON: first what it built, or why it could not; then for each line that it
reads the seconds of a call, and how long it waited since its last round and was busy all the same.
"""

import argparse
import gc
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, TextIO

import torch
from engine_contenders import Contender, Run, Task, fp32, package
from engine_models import OUTPUTS
from engine_peers import as_tensor, onnxruntime, openvino

from pytest_quant.errors import in_brief

SETTLE_SECONDS = 0.06  # untimed, so that the caches are this model's and other pools sleep
BLOCK_SECONDS = 0.12  # timed, and at least two calls
MAKERS = {"onnxruntime": onnxruntime, "openvino": openvino, "fp32": fp32}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("model", "contender"):
        parser.add_argument(name)
    parser.add_argument("folder", type=Path)
    for name in ("batch", "threads"):
        parser.add_argument(name, type=int)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print goes to the log
    serve(Task(**vars(parser.parse_args())), answers)


def serve(task: Task, answers: TextIO) -> None:
    """Build, then a round for each line."""
    torch.set_num_threads(task.threads)
    start = time.perf_counter()
    try:
        contender = made(task)
        run, noise = tried(contender, task)
    except Exception as error:
        tell(answers, error=in_brief(error))
        return
    gc.collect()
    gc.disable()
    built = time.perf_counter() - start
    tell(answers, mb=contender.mb, sqnr=noise, share=contender.share, built=built)
    ended, used = time.perf_counter(), time.process_time()
    for _ in sys.stdin:
        busy, waited = time.process_time() - used, time.perf_counter() - ended
        with contender.context():
            seconds, processor = one_round(run)
        tell(answers, seconds=seconds, processor=processor, busy=busy, waited=waited)
        ended, used = time.perf_counter(), time.process_time()


def made(task: Task) -> Contender:
    """The contender that a name stands for: ``fp32 ...``, ``onnxruntime ...``, or a recipe."""
    library, _, _ = task.contender.partition(" ")
    return MAKERS.get(library, package)(task)


def tried(contender: Contender, task: Task) -> tuple[Run, float]:
    """The timed call, and the outputs' signal-to-noise ratio in dB on all calibration inputs."""
    expected = torch.load(task.folder / OUTPUTS, weights_only=True)
    parts = task.inputs.split(task.batch)
    with contender.context():
        outputs = torch.cat([as_tensor(contender.bind(part.clone())()) for part in parts])
        noise = (outputs - expected).double().square().sum()
        ratio = 10 * torch.log10(expected.double().square().sum() / noise)
        return contender.bind(parts[0].clone()), float(ratio)


def one_round(run: Run) -> tuple[float, float]:
    """Wall and processor seconds of one call: the mean of a block, after calls that do not count."""
    start = time.perf_counter()
    while time.perf_counter() - start < SETTLE_SECONDS:
        run()
    start, used, count = time.perf_counter(), time.process_time(), 0
    while (spent := time.perf_counter() - start) < BLOCK_SECONDS or count < 2:
        run()
        count += 1
    return spent / count, (time.process_time() - used) / count


def tell(answers: TextIO, **what: Any) -> None:
    """One answer, a line."""
    answers.write(json.dumps(what) + "\n")


if __name__ == "__main__":
    main()
