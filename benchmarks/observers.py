"""Observers of activations: ours beside PyTorch's and ONNX Runtime's calibrators.

    pip install onnxruntime onnx
    python benchmarks/observers.py ranges | tee benchmarks/logs/observers_ranges.txt
    python benchmarks/observers.py accuracy | tee benchmarks/logs/observers_accuracy.txt

`ranges` shows the same batches to each of them, made-up tensors of a million values and activations
of the example's two models (both trained on first use). Every range is then judged by one and the
same quantization: affine, with 128 levels, as PyTorch's x86 engine has them. The signal-to-noise
ratio is that of fresh values of the same kind, from another seed or other images, without the
outlier that some kinds have planted in the calibration data.

ONNX Runtime's calibrators see the tensor as the input of a model that only casts it; making their
session is not timed. Percentile takes 99.99 in both. Their entropy calibrator gets 2048 bins: with
its default of 128 there is only one threshold to choose from.

`accuracy` builds the example's static variants with each observer that a Recipe knows, and adds how
far the logits are from FP32's.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from calibrators import LEVELS, Batches, Calibrator, Range, onnx_runtimes, pytorchs
from tabulate import tabulate
from torch.ao import quantization as ao

from pytest_quant import Recipe, Subject
from pytest_quant.machine.conditions import Conditions, known_warnings_silenced
from pytest_quant.machine.cpu import cpu_name
from pytest_quant.quantize.observers import OBSERVERS, activation_observer
from pytest_quant.store.open import open_store
from pytest_quant.variant.recipe import OBSERVERS as ALL_OBSERVERS

EXAMPLE = Path(__file__).parents[1] / "example_project"
BATCHES = 10
REPEATS = 3
LAYERS = {
    "cnn": ("features.0", "features.2", "classifier.0", "classifier.2"),
    "resnet18": ("conv1", "bn1", "layer1", "layer4", "fc"),
}


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of tensor: what is observed, and fresh values that are then quantized."""

    name: str
    observed: Batches
    fresh: torch.Tensor


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    tasks = options.add_subparsers(dest="task", required=True)
    ranges = tasks.add_parser("ranges", help="range, noise and time for each kind of tensor")
    ranges.add_argument("--values", type=int, default=1_000_000, help="of made-up tensors (1e6)")
    accuracy = tasks.add_parser("accuracy", help="of the example's static variants")
    for task in (ranges, accuracy):
        task.add_argument("--weights", type=Path, default=EXAMPLE / "weights", metavar="DIR")
        task.add_argument("--threads", type=int, default=1, help="of PyTorch (1)")
    given = options.parse_args()
    versions = [f"{name} {version(name)}" for name in ("torch", "onnxruntime")]
    print(f"{given.task}: {', '.join(versions)}, threads {given.threads}, {cpu_name()}\n")
    torch.set_num_threads(given.threads)
    sys.path.insert(0, str(EXAMPLE))
    started = time.perf_counter()
    with known_warnings_silenced():
        if given.task == "ranges":
            print_ranges([*made_up(given.values), *activations(given.weights)])
        else:
            print_accuracy(given.weights, given.threads)
    print(f"\n{time.perf_counter() - started:.0f} s in all")


# --- ranges


def print_ranges(kinds: list[Kind]) -> None:
    """Three tables with a row for each kind and a column for each method."""
    methods: dict[str, Calibrator] = {
        "minmax": pytorchs(ao.MinMaxObserver),
        "histogram": pytorchs(ao.HistogramObserver),
        **{name: pytorchs(activation_observer(name, ao)) for name in OBSERVERS},
        "ORT minmax": onnx_runtimes("MinMax"),
        "ORT percentile": onnx_runtimes("Percentile", symmetric=False, percentile=99.99),
        "ORT entropy": onnx_runtimes("Entropy", num_bins=2048),
    }
    # method by method: ONNX Runtime's threads would slow PyTorch down for a while
    found = {
        name: [fastest(method, kind.observed) for kind in kinds] for name, method in methods.items()
    }
    print(f"Range, {LEVELS} levels\n")
    print_table(kinds, found, lambda kind, low_high, seconds: "{:.3g} .. {:.3g}".format(*low_high))
    print("\nSignal-to-noise ratio in dB of fresh values quantized with that range\n")
    print_table(kinds, found, lambda kind, low_high, seconds: f"{sqnr(kind.fresh, *low_high):.1f}")
    print(f"\nMilliseconds to observe all batches and find the range, the fastest of {REPEATS}\n")
    print_table(kinds, found, lambda kind, low_high, seconds: f"{seconds * 1000:.0f}")


def fastest(method: Calibrator, batches: Batches) -> tuple[Range, float]:
    """The range, which is the same each time, and the least of the times."""
    return min((method(batches) for _ in range(REPEATS)), key=lambda found: found[1])


def print_table(
    kinds: list[Kind],
    found: dict[str, list[tuple[Range, float]]],
    cell: Callable[[Kind, Range, float], str],
) -> None:
    rows = [
        [kind.name, *(cell(kind, *results[number]) for results in found.values())]
        for number, kind in enumerate(kinds)
    ]
    align = ("left", *["right"] * len(found))
    heads = ["tensor", *found]
    print(tabulate(rows, heads, "github", disable_numparse=True, colalign=align))


def sqnr(values: torch.Tensor, low: float, high: float) -> float:
    """Signal-to-quantization-noise ratio in dB of affine quantization to the range with zero."""
    low, high = min(low, 0.0), max(high, 0.0)
    values = values.double()
    scale = max((high - low) / (LEVELS - 1), 1e-12)
    zero_point = min(max(round(-low / scale), 0), LEVELS - 1)
    back = torch.fake_quantize_per_tensor_affine(values, scale, zero_point, 0, LEVELS - 1)
    noise = float((values - back).square().sum())
    return 10 * math.log10(float(values.square().sum()) / noise) if noise else math.inf


def made_up(count: int) -> Iterator[Kind]:
    """Tensors with known distributions; those with an outlier have it in the calibration only."""

    def normal() -> torch.Tensor:
        return torch.randn(count, generator=generator)

    def laplace() -> torch.Tensor:
        uniform = torch.rand(count, generator=generator) - 0.5
        return -uniform.sign() * torch.log1p(-2 * uniform.abs())

    def student() -> torch.Tensor:
        return normal() / (sum(normal() ** 2 for _ in range(4)) / 4).sqrt()

    generator = torch.Generator().manual_seed(20240607)
    kinds: dict[str, Callable[[], torch.Tensor]] = {
        "normal": normal,
        "relu(normal)": lambda: normal().relu(),
        "relu6(4 normal)": lambda: (4 * normal()).clamp(0, 6),
        "gelu(2 normal)": lambda: torch.nn.functional.gelu(2 * normal()),
        "sigmoid(3 normal)": lambda: (3 * normal()).sigmoid(),
        "uniform": lambda: torch.rand(count, generator=generator),
        "laplace": laplace,
        "student, 4 df": student,
        "lognormal": lambda: normal().exp(),
    }
    for name, make in kinds.items():
        yield Kind(name, list(make().split(-(-count // BATCHES))), make())
    for outlier in (30.0, 1000.0):
        for name in ("normal", "relu(normal)"):
            observed = kinds[name]()
            observed[count // 3] = outlier
            batches = list(observed.split(-(-count // BATCHES)))
            yield Kind(f"{name}, one {outlier:g}", batches, kinds[name]())


def activations(weights: Path) -> Iterator[Kind]:
    """Outputs of layers of the example's models, on calibration images and on eval images."""
    from data import calibration_loader, eval_loader
    from train import trained

    for model_name, layers in LAYERS.items():
        model = trained(model_name, weights)
        seen = outputs(model, layers, calibration_loader(batch_size=20))
        fresh = outputs(model, layers, eval_loader())
        for layer in layers:
            yield Kind(f"{model_name} {layer}", seen[layer], torch.cat(fresh[layer]))


def outputs(model: torch.nn.Module, layers: tuple[str, ...], images: Any) -> dict[str, Batches]:
    """What each layer gives for each batch of images, flattened."""
    found: dict[str, Batches] = {layer: [] for layer in layers}
    hooks = [
        model.get_submodule(layer).register_forward_hook(
            # cloned: the next layer may be an in-place ReLU
            lambda _, __, output, kept=found[layer]: kept.append(output.flatten().clone())
        )
        for layer in layers
    ]
    with torch.inference_mode():
        for batch, _ in images:
            model(batch)
    for hook in hooks:
        hook.remove()
    return found


# --- accuracy


def print_accuracy(weights: Path, threads: int) -> None:
    """A table with a row for each model and observer."""
    from data import calibration_loader, eval_loader
    from train import accuracy, trained

    store = open_store(Conditions(threads=threads))
    rows = []
    for name in LAYERS:
        subject = Subject(
            trained(name, weights),
            name,
            eval_data=eval_loader(),
            calibration_data=calibration_loader(),
        )
        fp32 = store.fp32(subject)
        exact = logits(fp32)
        rows.append([name, "fp32", f"{accuracy(fp32.model, eval_loader()):.2%}", "", ""])
        for observer in ALL_OBSERVERS:
            variant = store.variant(subject, Recipe("static", observer=observer), observer)
            with variant.running():
                share = accuracy(variant.model, eval_loader())
            noise = (logits(variant) - exact).norm() / exact.norm()
            spent = sum(variant.seconds.get(stage, 0.0) for stage in ("calibrate", "convert"))
            decibel = f"{-20 * math.log10(noise):.1f}"
            rows.append([name, observer, f"{share:.2%}", decibel, f"{spent:.2f}"])
    heads = ["model", "observer", "top-1", "SQNR of logits, dB", "s to calibrate and convert"]
    align = ("left", "left", "right", "right", "right")
    print(tabulate(rows, heads, "github", disable_numparse=True, colalign=align))


def logits(variant: Any) -> torch.Tensor:
    """Of all eval images."""
    from data import eval_loader

    with variant.running():
        return torch.cat([variant.model(images) for images, _ in eval_loader()])


if __name__ == "__main__":
    main()
