"""What the plugin costs: a four-variant run of the example's CNN beside a bare script, or an evaluation
beside a bare loop.

    python benchmarks/overhead.py [--what run|evaluation] [--pairs 3]

run: the plugin's run builds dynamic, static and QAT, evaluates them and FP32, times them and prints the
table. It counts every call of every model. The bare script then does the same with nothing but
PyTorch: the same builds, epochs and evaluations, and as many timed calls of each model. Both run
turn by turn, each in a process of its own; printed is the ratio of their wall times.

evaluation: see evaluation_cost.py; MobileNetV2 in FP32 and int8, by size of images and threads.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from evaluation_cost import evaluation_rows

EXAMPLE = Path(__file__).parents[1] / "example_project"

CONFTEST = """
import collections
import json
import sys

import pytest

sys.path.insert(0, {example!r})
CALLS = collections.Counter()


@pytest.fixture(scope="session")
def quant_model():
    from train import trained
    return trained("cnn")


@pytest.fixture(scope="session")
def quant_eval_data():
    from data import eval_loader
    return eval_loader()


@pytest.fixture(scope="session")
def quant_calibration_data():
    from data import calibration_loader
    return calibration_loader()


@pytest.fixture(scope="session")
def quant_train_data():
    from data import train_loader
    return train_loader()


@pytest.fixture(scope="session")
def quant_forward():
    def forward(model, inputs):
        CALLS[id(model)] += 1
        return model(inputs)
    return forward


def pytest_quant_report(report, frame):
    names = {{row["variant"]: row["latency"] for row in report["rows"] if row["latency"]}}
    with open("calls.json", "w") as file:
        json.dump({{"calls": {{**NAMES}}, "counts": dict(CALLS), "rounds": names}}, file)


NAMES = {{}}
"""
TEST = """
from conftest import NAMES

def test_all(quant_fp32, quant_dynamic, quant_static, quant_qat):
    for variant in (quant_fp32, quant_dynamic, quant_static, quant_qat):
        NAMES[variant.name] = id(variant.model)
"""
BARE = """
import json
import sys
import warnings

warnings.simplefilter("ignore")
sys.path.insert(0, {example!r})

import copy

import torch
from torch.ao import quantization as ao
from torch.ao.nn.intrinsic.qat import freeze_bn_stats
from torch.ao.quantization import quantize_fx

from data import calibration_loader, eval_loader, train_loader
from train import trained

calls = json.load(open("calls.json"))
torch.set_num_threads(2)
torch.manual_seed(0)
fp32 = trained("cnn").eval()
first = next(iter(eval_loader()))[0]


def accuracy(model):
    with torch.inference_mode():
        hits = [(model(x).argmax(1) == y).sum() for x, y in eval_loader()]
    return float(sum(hits)) / len(eval_loader().dataset)


dynamic = ao.quantize_dynamic(copy.deepcopy(fp32), {{torch.nn.Linear}})
prepared = quantize_fx.prepare_fx(copy.deepcopy(fp32), ao.get_default_qconfig_mapping("x86"), (first,))
seen = 0
with torch.no_grad():
    for x, _ in calibration_loader():
        prepared(x[: 200 - seen])
        seen += len(x)
        if seen >= 200:
            break
static = quantize_fx.convert_fx(prepared)

mapping = ao.get_default_qat_qconfig_mapping("x86")
trainee = quantize_fx.prepare_qat_fx(copy.deepcopy(fp32).train(), mapping, (first,))
optimizer = torch.optim.Adam(trainee.parameters(), lr=1e-4)
steps, step = 2 * len(train_loader()), 0
for epoch in range(2):
    for x, y in train_loader():
        if step == int(steps * 0.5):
            trainee.apply(freeze_bn_stats)
        if step == int(steps * 0.67):
            trainee.apply(ao.disable_observer)
        loss = torch.nn.functional.cross_entropy(trainee(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
fake = copy.deepcopy(trainee).eval()
qat = quantize_fx.convert_fx(trainee.eval())

models = {{"fp32": fp32, "dynamic": dynamic, "static": static, "qat": qat}}
for name, model in [*models.items(), ("fake", fake)]:
    print(name, accuracy(model))
batches = len(eval_loader())
channels_last = copy.deepcopy(fp32).to(memory_format=torch.channels_last)
nhwc = first.to(memory_format=torch.channels_last)
named = {{str(number): name for name, number in calls["calls"].items()}}
with torch.inference_mode():
    for number, count in calls["counts"].items():
        name = named.get(number)
        if name is not None:
            for _ in range(count - batches):
                models[name](first)
        elif count > 200:  # FP32 in channels_last; the others are prepared models and trials
            for _ in range(count):
                channels_last(nhwc)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--what", choices=("run", "evaluation"), default="run")
    parser.add_argument("--pairs", type=int, default=3)
    given = parser.parse_args()
    if given.what == "evaluation":
        for line in evaluation_rows(given.pairs):
            print(line, flush=True)
        return
    whole_run(given.pairs)


def whole_run(pairs: int) -> None:
    """Print the ratio for a run of four variants."""
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "conftest.py").write_text(CONFTEST.format(example=str(EXAMPLE)))
        (Path(folder) / "test_all.py").write_text(TEST)
        (Path(folder) / "bare.py").write_text(BARE.format(example=str(EXAMPLE)))
        plugin = [sys.executable, "-m", "pytest", "--quant", "--quant-all", "-q", "test_all.py"]
        bare = [sys.executable, "bare.py"]
        seconds(plugin, folder)  # trains the CNN if it must, and warms the file cache
        for _ in range(pairs):
            ours, theirs = seconds(plugin, folder), seconds(bare, folder)
            counts = json.loads((Path(folder) / "calls.json").read_text())["counts"]
            print(f"plugin {ours:.1f} s, bare {theirs:.1f} s, {sum(counts.values())} calls counted")
            ratios.append(ours / theirs)
    print(f"ratio {statistics.median(ratios):.3f} (median of {pairs}: {sorted(ratios)})")


def seconds(command: list[str], folder: str) -> float:
    """Wall time of a command that must succeed."""
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
