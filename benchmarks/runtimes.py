"""What ships beside what each runtime's own quantizer makes, on the same weights: speed, fidelity, size.

    pip install -e ".[bench]"
    python benchmarks/runtimes.py [--models resnet18 ...] [--threads 1 2] [--rounds 7] [--seconds 40]

Contenders, processes and rounds are those of `engines.py`. "our ..." is a variant of the package as a gate
times it; "onnxruntime int8" and "openvino int8" are what the runtimes' own quantizers make. Each ratio is
to FP32 eager of the same round: of wall time, of processor time over all threads, and over FP32 in the
same runtime. int8 is the share of the multiply-adds that kernels of 8 bits run, where that is known.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from engine_models import MODELS
from engine_process import Process
from engines import BASELINE, HERE, compare, versions

from pytest_quant.machine.cpu import cpu_name, has_vnni

FP32 = (BASELINE, "onnxruntime fp32", "openvino fp32")
STATIC = ("fx/x86", "our onnx", "our openvino", "onnxruntime int8", "openvino int8")
SEQUENCES = ("our onnx dynamic", "onnxruntime dynamic int8")
CONTENDERS = {
    "vit_b_16": (*FP32, "pt2e", "our onnx dynamic", "our openvino", *STATIC[3:], SEQUENCES[1]),
    "bert": (*FP32, "pt2e", "our onnx dynamic", "our openvino", *STATIC[3:], SEQUENCES[1]),
    "lstm": (*FP32, "dynamic/x86", *SEQUENCES, "openvino int8"),
}
HEADER = ("contender", "ms", "speed-up", "processor", "over its FP32", "SQNR dB", "MB", "int8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--samples", type=int, default=16, help="for calibration and SQNR")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=40, help="of one table's rounds, at most")
    options = parser.parse_args()
    print(f"{cpu_name()}{', VNNI' * has_vnni()}; {versions()}", flush=True)
    for model in options.models:
        with tempfile.TemporaryDirectory() as folder:
            maker = [sys.executable, str(HERE / "engine_models.py"), model, folder]
            subprocess.run([*maker, str(options.samples), "0"], check=True)
            for threads in options.threads:
                print(f"\n{threads} thread{'s' * (threads > 1)}", flush=True)
                own = argparse.Namespace(
                    contenders=CONTENDERS.get(model, (*FP32, *STATIC)),
                    threads=threads, rounds=options.rounds, seconds=options.seconds, jobs=1, seed=0,
                )  # fmt: skip
                seen: dict[str, Process] = {}
                compare(
                    model, 1, Path(folder), own, HEADER,
                    lambda process, baseline, seen=seen: line(process, baseline, seen),
                )  # fmt: skip


def line(process: Process, baseline: Process, seen: dict[str, Process]) -> list[str]:
    """A contender's line of the table.

    Args:
        seen: FP32 of each runtime, which comes before its other contenders.
    """
    if process.error or len(process.seconds) != len(baseline.seconds):
        return [process.name, "failed", *[""] * (len(HEADER) - 2)]
    if process.name in FP32:
        seen[process.name] = process
    own = seen.get(_fp32_of(process.name))
    return [
        process.name,
        f"{1000 * statistics.median(process.seconds):.2f}",
        _ratio(baseline.seconds, process.seconds),
        _ratio(baseline.processor, process.processor),
        "" if own is None or own is process else _ratio(own.seconds, process.seconds),
        "" if process.sqnr > 100 else f"{process.sqnr:.1f}",
        f"{process.mb:.2f}",
        "" if process.share is None else f"{100 * process.share:.1f} %",
    ]


def _ratio(before: list[float], after: list[float]) -> str:
    return f"{statistics.median(a / b for a, b in zip(before, after, strict=True)):.2f}x"


def _fp32_of(name: str) -> str:
    if "onnx" in name:
        return "onnxruntime fp32"
    return "openvino fp32" if "openvino" in name else BASELINE


if __name__ == "__main__":
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    main()
