"""What each precision gives on this CPU: speed-up, size and fidelity, beside FP32 and dynamic int8.

    python benchmarks/precisions.py [--rounds 11] [--threads 1 2]

Every round times each model once, in an order drawn anew, for at least 20 ms after an untimed call;
a speed-up is the median of the rounds' ratios to FP32. One thread is timed in CPU seconds, which
other programs on the machine change little; more threads by the wall clock. Sizes are those that the
size gate takes. Fidelity is the outputs' signal-to-quantization-noise ratio in dB, with random
weights. Attention has its fast path where it can: with FP32 and casts, not with quantized weights.
"""

import argparse
import copy
import logging
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pytest_quant import Recipe
from pytest_quant.machine.conditions import alone_on_this_machine, known_warnings_silenced
from pytest_quant.machine.cpu import cpu_name, has_bfloat16, has_vnni, isa
from pytest_quant.quantize.flows import dynamic
from pytest_quant.quantize.flows.cast import cast
from pytest_quant.quantize.flows.weight_only import compress
from pytest_quant.variant.tensors import bytes_of, plain_tensors, tensors_of

SECONDS = 0.02  # of one model in one round
PRECISIONS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "dynamic int8": lambda module: dynamic.convert(module, Recipe("dynamic"), "x86"),
    "int8 weights": lambda module: compress(module, "int8"),
    "int4 weights": lambda module: compress(module, "int4"),
    "float16 weights": lambda module: compress(module, "float16"),
    "codebook, 8 bits": lambda module: compress(module, "codebook", bits=8),
    "codebook, 4 bits": lambda module: compress(module, "codebook", bits=4),
    "bfloat16 cast": lambda module: cast(module, "bfloat16"),
    "float16 cast": lambda module: cast(module, "float16"),
}


class Last(nn.Module):
    """A two-layer LSTM's last state."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(256, 256, 2, batch_first=True)

    def forward(self, inputs: Tensor) -> Tensor:
        last: Tensor = self.lstm(inputs)[0][:, -1]
        return last


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 1024))


def wide() -> nn.Module:
    return nn.Sequential(nn.Linear(4096, 4096))


def cnn() -> nn.Module:
    def block(inputs: int, outputs: int) -> list[nn.Module]:
        conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        return [conv, nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]

    blocks = [*block(3, 32), *block(32, 64), *block(64, 128)]
    return nn.Sequential(*blocks, nn.Flatten(), nn.Linear(2048, 10))


def encoder() -> nn.Module:
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(256, 4, 1024, batch_first=True), 2)


def tokens() -> nn.Module:
    return nn.Sequential(nn.Embedding(50_000, 128), nn.Flatten(), nn.Linear(64 * 128, 10))


torch.manual_seed(0)
CASES: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "MLP 1024-1024-1024, batch 1": (mlp, torch.randn(1, 1024)),
    "MLP 1024-1024-1024, batch 32": (mlp, torch.randn(32, 1024)),
    "Linear 4096-4096, batch 1": (wide, torch.randn(1, 4096)),
    "CNN of three 3x3 blocks, 3x32x32, batch 8": (cnn, torch.randn(8, 3, 32, 32)),
    "TransformerEncoder, 2 layers of 256, 64 steps, batch 4": (encoder, torch.randn(4, 64, 256)),
    "LSTM, 2 layers of 256, 32 steps, batch 8": (Last, torch.randn(8, 32, 256)),
    "Embedding 50000x128, 64 tokens, batch 8": (tokens, torch.randint(0, 50_000, (8, 64))),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    flags = [isa(), *["VNNI"] * has_vnni(), *["BF16"] * has_bfloat16()]
    print(f"torch {torch.__version__}, {cpu_name()}, {', '.join(flags)}, {options.rounds} rounds")
    with alone_on_this_machine():
        for threads in options.threads:
            torch.set_num_threads(threads)
            for name, (make, inputs) in CASES.items():
                torch.manual_seed(0)
                table(f"{name}, {threads} thread(s)", make().eval(), inputs, options.rounds)


def table(title: str, fp32: nn.Module, inputs: Tensor, rounds: int) -> None:
    """One model in each precision: a line each."""
    models = {"FP32": fp32} | variants(fp32)
    calls = {name: timed(model, inputs, name) for name, model in models.items()}
    with torch.inference_mode():
        expected = calls["FP32"]()
        noise = {name: sqnr(expected, call()) for name, call in calls.items()}
        seconds = interleaved(calls, rounds)
    print(f"\n{title}: FP32 {1000 * statistics.median(seconds['FP32']):.3g} ms")
    print(f"{'':18}{'speed-up':>10}{'smaller':>10}{'SQNR':>10}")
    for name, model in models.items():
        ratios = [a / b for a, b in zip(seconds["FP32"], seconds[name], strict=True)]
        smaller = size(fp32) / size(model)
        print(f"{name:18}{statistics.median(ratios):9.2f}x{smaller:9.2f}x{noise[name]:7.1f} dB")


def variants(fp32: nn.Module) -> dict[str, nn.Module]:
    """All that can be made of a model; torchao's where it has Linear modules to change."""
    made: dict[str, nn.Module] = {}
    with known_warnings_silenced():
        for name, convert in PRECISIONS.items():
            made[name] = convert(copy.deepcopy(fp32))
    if isinstance(fp32, nn.Sequential) and isinstance(fp32[0], nn.Linear):
        made["torchao int8"] = torchao_int8(copy.deepcopy(fp32))
    return made


def torchao_int8(module: nn.Module) -> nn.Module:
    """torchao's weight-only int8, uncompiled."""
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    quantize_(module, Int8WeightOnlyConfig(set_inductor_config=False))
    return module


def timed(model: nn.Module, inputs: Tensor, name: str) -> Callable[[], Tensor]:
    """A call of the model, with attention's fast path where it can take it."""
    fast = not any(word in name for word in ("weights", "codebook", "dynamic"))

    def call() -> Tensor:
        torch.backends.mha.set_fastpath_enabled(fast)
        outputs: Tensor = model(inputs)
        return outputs

    return call


def interleaved(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of one call of each, in each round."""
    order, shuffled = list(calls), random.Random(0)
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        shuffled.shuffle(order)
        for name in order:
            calls[name]()
            count, start = 0, clock()
            while (spent := clock() - start) < SECONDS or not count:
                calls[name]()
                count += 1
            seconds[name].append(spent / count)
    return seconds


def sqnr(expected: Tensor, own: Tensor) -> float:
    """Signal power over the power of the difference, in dB."""
    noise = (expected - own).square().sum()
    return float(10 * torch.log10(expected.square().sum() / noise))


def size(model: nn.Module) -> int:
    """Bytes of the tensors that the model needs to run."""
    return bytes_of(
        [*tensors_of(model.state_dict()), *(tensor for _, tensor in plain_tensors(model))]
    )


if __name__ == "__main__":
    main()
