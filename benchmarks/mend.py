"""Which layers to keep in FP32: the package's search beside NNCF's, on models that fail their gate.

    pip install -e ".[bench]"
    python benchmarks/mend.py [--cases mobilenet_v2 resnet18] [--limit 0.01] [--shifts 1] [--threads 2]
        [--weights DIR] [--contenders "pytest-quant, layers only" ...]

Both get the same weights, 200 calibration images, 540 validation images (more by `--shifts`, each moved
by a pixel) and limit: the top-1 that may be lost against FP32. All weights are int8 per tensor, which
these models do not bear; `mend_case` says how they are made. Each contender runs in a process of its
own, one after the other, on as many cores as threads. NNCF has no such search for PyTorch: it works
on OpenVINO, with its default settings.

`search s` is counted from the moment when the quantized model is known to fail, `all s` from the FP32
model in memory: with calibration, quantization, and the evaluation of FP32 and of the model that fails.
With one thread they are processor seconds, which other programs on the machine change little.
`full` are the search's evaluations of all validation images, `part` the images evaluated otherwise.
The package's are counted where they are read: images that it keeps and evaluates again are not in
them, only in the trials told below the table. A layer is a convolution or a matrix product. Drops
are points of top-1, SQNR is the logits' signal-to-quantization-noise ratio. "pytest-quant" may also
try cheaper remedies, such as weights per channel, before it keeps layers; "layers only" may not, so
that the searches can be compared.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import torch
from mend_case import EPOCHS, EVAL_IMAGES, make
from mend_contender import CONTENDERS
from mend_outcome import Outcome
from tabulate import tabulate

from pytest_quant.machine.conditions import known_warnings_silenced
from pytest_quant.machine.cpu import cpu_name, has_vnni

WORKER = Path(__file__).with_name("mend_contender.py")
SECONDS = 900.0  # of one contender, at most
LIBRARIES = ("torch", "torchvision", "nncf", "openvino")
HEADER = (
    "contender",
    "drop before",
    "layers kept",
    "full",
    "part",
    "search s",
    "all s",
    "top-1",
    "drop",
    "SQNR dB",
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="+", default=list(EPOCHS), choices=list(EPOCHS))
    parser.add_argument("--contenders", nargs="+", default=list(CONTENDERS), choices=CONTENDERS)
    parser.add_argument("--limit", type=float, default=0.01, help="drop in top-1, a share (0.01)")
    parser.add_argument("--shifts", type=int, default=1, help="of each validation image, to 9 (1)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", type=Path, metavar="DIR", help="keeps trained models here")
    options = parser.parse_args()
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    vnni = ", VNNI" * has_vnni()
    print(f"{cpu_name()}{vnni}, {options.threads} threads; {versions}", flush=True)
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        for name in options.cases:
            compare(name, options.weights or Path(folder), options)


def compare(name: str, folder: Path, options: argparse.Namespace) -> None:
    """One case: make it, show it to every contender, print a table."""
    if not (folder / f"{name}.pt").exists():
        with known_warnings_silenced():
            print(f"\n{name}: {make(name, folder, options.seed)}", flush=True)
    rows, notes = [], []
    for contender in options.contenders:
        print(f"{name}: {contender}", file=sys.stderr, flush=True)
        outcome = run(contender, name, folder, options)
        rows.append(line(contender, outcome))
        notes += [f"{contender}: {outcome}" if isinstance(outcome, str) else outcome.note]
    images = EVAL_IMAGES * options.shifts
    print(f"\n{name}, limit {100 * options.limit:g} points, {images:,} validation images\n")
    align = ("left", *["right"] * (len(HEADER) - 1))
    print(tabulate(rows, HEADER, "github", disable_numparse=True, colalign=align))
    print("\n".join(["", *filter(None, notes)]), flush=True)


def run(contender: str, name: str, folder: Path, options: argparse.Namespace) -> Outcome | str:
    """The outcome of a contender's process, or its last words."""
    given = [contender, name, str(folder), str(options.limit)]
    given += [str(options.shifts), str(options.threads)]
    try:
        done = subprocess.run(
            [sys.executable, str(WORKER), *given],
            env=os.environ | {"OMP_NUM_THREADS": str(options.threads)},
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"no outcome within {SECONDS:.0f} s"
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["no message"])[-1]
    return Outcome(**json.loads(done.stdout))


def line(contender: str, outcome: Outcome | str) -> Sequence[str]:
    """A contender's line of the table."""
    if isinstance(outcome, str):
        return [contender, "failed", *[""] * (len(HEADER) - 2)]
    return [
        contender,
        f"{100 * outcome.before:.2f}",
        f"{outcome.kept} of {outcome.layers}",
        f"{outcome.full}",
        f"{outcome.part:,}",
        f"{outcome.search:.1f}",
        f"{outcome.seconds:.1f}",
        f"{outcome.accuracy:.2%}",
        f"{100 * outcome.drop:.2f}",
        f"{outcome.sqnr:.1f}",
    ]


if __name__ == "__main__":
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    main()
