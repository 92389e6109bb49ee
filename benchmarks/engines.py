"""How fast each flow and engine is beside other int8 runtimes on the same weights, and beside FP32.

    pip install -e ".[bench]"
    python benchmarks/engines.py [--models resnet18 ...] [--contenders pt2e "onnxruntime int8" ...]
        [--batch 1] [--threads 2] [--rounds 11] [--seconds 60] [--jobs 2]

Each contender is built and timed in a process of its own, since the thread pools of several runtimes
in one process slow each other down. Rounds are interleaved: in each round every process, in an order
drawn anew, first calls its model untimed and then for at least 0.12 s and two calls, while the others
wait for their turn; what they spend while they wait is printed, in cores. ms is the median over the
rounds, the speed-up the median of the rounds' ratios to FP32 eager with the quartiles, SQNR the
signal-to-quantization-noise ratio of the outputs for the calibration inputs, and MB 10^6 bytes.

QAT is left out, since it ends in the kernels of static; so is flow `parts`, which ends in those of fx.
"""

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from engine_process import Process
from tabulate import tabulate

from pytest_quant.machine.conditions import alone_on_this_machine
from pytest_quant.machine.cpu import cpu_name, has_vnni

HERE = Path(__file__).parent
MODELS = ("resnet18", "resnet50", "mobilenet_v2", "vit_b_16", "lstm")
BASELINE = "fp32 eager"
ENGINES = ("x86", "fbgemm", "onednn", "qnnpack")
FP32 = (BASELINE, "fp32 channels_last", "fp32 compiled", "onnxruntime fp32", "openvino fp32")
STATIC = (*(f"fx/{engine}" for engine in ENGINES), "pt2e")
DYNAMIC = (*(f"dynamic/{engine}" for engine in ENGINES), "dynamic")  # the last by flow pt2e
PEERS = ("onnxruntime int8", "openvino int8")
CONVOLUTIONAL = (*FP32, *STATIC, *PEERS)
# Of a ViT only engines that are anybody's choice, since all at once fill 24 GB of memory.
OF_VIT = ("fx/x86", "fx/onednn", "pt2e", *PEERS, "dynamic/x86", "dynamic/onednn", "dynamic")
CONTENDERS = {
    "vit_b_16": (*FP32, *OF_VIT, "onnxruntime dynamic int8"),
    "lstm": (*FP32, *DYNAMIC, "fx/x86", "pt2e", "onnxruntime dynamic int8", "openvino int8"),
}
HEADER = ("contender", "ms", "speed-up", "quartiles", "SQNR dB", "MB", "build s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_AsWritten)
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--contenders", nargs="+", help="default: all; FP32 eager always")
    parser.add_argument("--batch", type=int, nargs="+", default=[1], help="samples of one call")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--samples", type=int, default=16, help="for calibration and SQNR")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--seconds", type=float, default=60, help="of one table's rounds, at most")
    parser.add_argument("--jobs", type=int, default=2, help="contenders built at once")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if any(options.samples % batch for batch in options.batch):
        parser.error("--samples must be a multiple of each --batch")
    print(
        f"{cpu_name()}{', VNNI' * has_vnni()}, {options.threads} threads; {versions()}", flush=True
    )
    for name in options.models:
        with tempfile.TemporaryDirectory() as folder:
            maker = [sys.executable, str(HERE / "engine_models.py"), name, folder]
            maker += [str(options.samples), str(options.seed)]
            subprocess.run(maker, check=True)
            for batch in options.batch:
                compare(name, batch, Path(folder), options)


def line(process: Process, baseline: Process) -> list[str]:
    """A contender's line of the table."""
    if process.error or len(process.seconds) != len(baseline.seconds):
        return [process.name, "failed", *[""] * 5]
    ratios = [a / b for a, b in zip(baseline.seconds, process.seconds, strict=True)]
    low, _, high = statistics.quantiles(ratios, method="inclusive")
    return [
        process.name,
        f"{1000 * statistics.median(process.seconds):.2f}",
        f"{statistics.median(ratios):.2f}x",
        f"{low:.2f} to {high:.2f}",
        "" if process.sqnr > 100 else f"{process.sqnr:.1f}",
        f"{process.mb:.2f}",
        f"{process.built:.0f}",
    ]


def compare(
    model: str,
    batch: int,
    folder: Path,
    options: argparse.Namespace,
    header: Sequence[str] = HEADER,
    of_contender: Callable[[Process, Process], list[str]] = line,
) -> None:
    """Build all contenders of one model, time them, print a table, and end them."""
    names = [n for n in CONTENDERS.get(model, CONVOLUTIONAL) if _wanted(n, options.contenders)]
    if options.contenders:
        names += [n for n in options.contenders if n not in names]
    start = time.perf_counter()

    def begun(name: str) -> Process:
        print(f"{model}: {name}", file=sys.stderr, flush=True)
        return Process(name, model, folder, batch, options.threads)

    processes: list[Process] = []
    try:
        with ThreadPoolExecutor(options.jobs) as pool:
            processes += pool.map(begun, names)
        built = time.perf_counter() - start
        with alone_on_this_machine():
            count = rounds(processes, options.rounds, options.seconds, random.Random(options.seed))
    finally:
        for process in processes:
            process.end()
    spent = time.perf_counter() - start - built
    print(f"\n{model}, batch {batch}: built in {built:.0f} s, {count} rounds in {spent:.0f} s")
    baseline = next(p for p in processes if p.name == BASELINE)
    lines = [of_contender(process, baseline) for process in processes]
    print(
        tabulate(
            lines, header, disable_numparse=True, colalign=("left", *["right"] * (len(header) - 1))
        )
    )
    for process in processes:
        if process.error:
            print(f"{process.name}: {process.error}")
    waiting = [(p.busy / p.waited, p.name) for p in processes if p.waited]
    if waiting:  # else all have failed
        cores, name = max(waiting)
        print(f"busiest while it waited: {name}, {cores:.3f} cores", flush=True)


def rounds(processes: Sequence[Process], most: int, seconds: float, coin: random.Random) -> int:
    """Rounds of all that live, until there are enough or time is up; three at least."""
    start = time.perf_counter()
    for count in range(most):
        if count >= 3 and time.perf_counter() - start > seconds:
            return count
        order = [process for process in processes if not process.error]
        coin.shuffle(order)
        for process in order:
            process.round()
    return most


def versions() -> str:
    """Of all libraries that take part."""
    found = []
    for name in ("torch", "torchao", "onnxruntime", "openvino", "nncf"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    return ", ".join(found)


def _wanted(name: str, asked: Sequence[str] | None) -> bool:
    return asked is None or name in asked or name == BASELINE


class _AsWritten(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Help with the docstring's own lines, and with defaults."""


if __name__ == "__main__":
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    main()
