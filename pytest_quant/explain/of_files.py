"""Of files: what can be said of a file of another runtime that is inexact, slow or large."""

import math

from pytest_quant.errors import listed
from pytest_quant.measure.nearness import nearness
from pytest_quant.runtimes.artefact import Artefact
from pytest_quant.runtimes.runtime import Kernel
from pytest_quant.variant.measurements import MB
from pytest_quant.variant.variant import Variant

GRAPH = 0.05  # MB that a graph may take without any weight
FOLD = "Convert it so that constants are folded"
FOLD_ONNX = "Fold its constants (ONNX Runtime with optimized_model_filepath writes such a file)"
SHOWN = 4  # kernels by name
STORED = 1.5  # times the bytes that its kernels need, from which on a file stores something else
MOST = 0.9  # of the multiply-adds in kernels of fewer bits, from which on these are not what is missing


def inexact_file(variant: Variant, file: Artefact) -> str:
    """What is known of a file that loses too much: no layer of it can be told from another."""
    decibels = nearness(variant)
    apart = (
        "."
        if math.isnan(decibels)
        else f": its outputs are {decibels:.0f} dB from FP32's on the first batch (int8 is mostly at 10 to "
        "40)."
    )
    near = f"{file.path.name} is one piece, so that no layer can be blamed{apart}"
    return f"{near} {_in_float(file)}".rstrip()


def slow_file(file: Artefact) -> str:
    """Where the time of a file goes, as far as its kernels show it, and what to do."""
    if file.kernels is None:
        return (
            f"{file.runtime} does not show what it runs, so that nobody knows where the time goes."
        )
    total = sum(kernel.macs for kernel in file.kernels)
    narrow = sum(kernel.macs for kernel in file.kernels if kernel.is_narrow)
    share = narrow / total if total else 0.0
    told = (
        f"{file.runtime} runs {100 * share:.0f} % of the multiply-adds of {file.path.name} in kernels of "
        "fewer bits on this CPU."
    )
    if share < MOST:
        return f"{told} {_in_float(file)} Quantize these too, in a form that it has kernels for."
    return (
        f"{told} So int8 is not what is missing: look at what stands between the kernels (conversions, "
        "activations in float), which the runtime's own profiler shows, or take another runtime."
    )


def large_file(file: Artefact) -> str:
    """What makes a file large, as far as its kernels show it, and what to do."""
    sizes = ", ".join(f"{each.name} {each.stat().st_size / MB:.2f} MB" for each in file.files)
    lines = [f"It is {sizes}."]
    wide = sum(kernel.weights for kernel in _wide(file)) * 4
    if wide:
        lines.append(f"{wide / MB:.2f} MB are weights that run in float. {_in_float(file)}")
    needed = wide + sum(k.weights * k.bits // 8 for k in file.kernels or () if k.is_narrow)
    graph = sum(each.stat().st_size for each in file.files if each.suffix == ".xml")
    stored = file.size_bytes - graph
    is_more = stored > STORED * needed
    if graph > stored or (is_more and stored - needed < GRAPH * MB):
        lines.append("The graph itself is most of it, which does not grow with the weights.")
    elif file.kernels and is_more:
        lines.append(
            f"What runs needs {needed / MB:.2f} MB of weights: the file stores others, such as weights in "
            "float that are quantized when it is loaded. "
            f"{FOLD_ONNX if file.path.suffix == '.onnx' else FOLD}."
        )
    return " ".join(lines)


def _wide(file: Artefact) -> list[Kernel]:
    return [each for each in file.kernels or () if each.is_wide]


def _in_float(file: Artefact) -> str:
    wide = sorted(_wide(file), key=lambda kernel: -kernel.macs)
    count = sum(1 for each in file.kernels or () if each.weights)
    if not wide:
        return ""
    names = listed((kernel.name for kernel in wide), SHOWN, counted=True)
    run = "runs" if len(wide) == 1 else "run"
    return f"{len(wide)} of its {count} operations with weights {run} in float: {names}."
