"""Builders: tiny subjects, variants with planted scores, and rows of a report."""

import copy
from contextlib import contextmanager
from dataclasses import replace

import torch

from pytest_quant.baseline.row import Row
from pytest_quant.explain.lost.layer import Layer
from pytest_quant.machine.conditions import Conditions
from pytest_quant.quantize.build import build
from pytest_quant.quantize.built import Built
from pytest_quant.store.open import measures_under, open_store
from pytest_quant.store.store import Store
from pytest_quant.subject.metrics import Metric
from pytest_quant.subject.subject import Subject
from pytest_quant.variant.key import RowKey
from pytest_quant.variant.recipe import Recipe
from pytest_quant.variant.sqnr import sqnr

ONE_THREAD = Conditions(threads=1)


@contextmanager
def threads(count):
    """With so many of PyTorch's threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def tiny_linear(seed=0):
    """195 parameters, 176 of them weights: 8 -> 16 -> 3."""
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3)
    ).eval()


def batches(samples=32, seed=1, size=16):
    """(inputs [n, 8], targets [n]) with the first three inputs as the classes' scores."""
    inputs = torch.randn(samples, 8, generator=torch.Generator().manual_seed(seed))
    return list(zip(inputs.split(size), inputs[:, :3].argmax(1).split(size), strict=True))


def toy_subject(model=None, **parts):
    """A Subject of the tiny model, with data of its own for each purpose."""
    given = {"eval_data": batches(seed=1), "calibration_data": batches(seed=2)} | parts
    return Subject(model or tiny_linear(), **given)


def toy_variant(recipe="dynamic", *, name=None, model=None, **parts):
    """A variant of the tiny model, built and measured as the plugin does it."""
    recipe = Recipe(recipe) if isinstance(recipe, str) else recipe
    return open_store(ONE_THREAD).variant(toy_subject(model, **parts), recipe, name)


def kept_db(variant):
    """The SQNR, in dB, of a variant's outputs beside FP32's on the first batch."""
    inputs = variant.admitted.first_inputs
    with torch.inference_mode():
        expected = variant.fp32.forward(inputs)
        with variant.running():
            return sqnr(expected, variant.forward(inputs))


def unquantized_variant(kind):
    """What a flow would give that quantizes nothing without a word."""

    def build(admitted, recipe, conditions):
        return Built(copy.deepcopy(admitted.module), recipe)

    store = Store(ONE_THREAD, build, measures_under(ONE_THREAD))
    return store.variant(toy_subject(), Recipe(kind), kind)


class Reads(torch.nn.Module):
    """Gives one column of the inputs as the score of class 0, and `other` as that of class 1."""

    def __init__(self, column, other):
        super().__init__()
        self.column = column
        self.other = torch.nn.Parameter(torch.tensor([other]))

    def forward(self, x):
        return torch.stack([x[:, self.column], self.other.expand(len(x))], dim=1)


def score_of(outputs, targets):
    """The planted score itself, one for each sample."""
    return outputs[:, 0]


def planted_variant(fp32, own, *, metric=None, name="static", size=50, targets=None, **parts):
    """A variant whose samples score `own` where FP32's score `fp32`.

    Without a metric the scores are 0 and 1: right and wrong in top-1 accuracy, of samples of class 0;
    with targets of their own the planted scores count themselves.
    """
    inputs = torch.tensor([fp32, own, range(len(fp32))], dtype=torch.float32).T
    if targets is not None:
        metric = metric or reward()
    else:
        targets = torch.zeros(len(inputs), dtype=torch.long)
    data = list(zip(inputs.split(size), targets.split(size), strict=True))
    recipe = Recipe("custom", build=lambda module: Reads(1, 0.25), quantized=False)
    subject = Subject(Reads(0, 0.5), "planted", eval_data=data, metric=metric, **parts)
    return open_store(ONE_THREAD).variant(subject, recipe, name)


def right(count, of):
    """Scores of `of` samples, the first `count` of which are right."""
    return [1] * count + [0] * (of - count)


def reward(name="reward", unit="fraction", whole=False):
    """A metric of planted scores for which higher is better; of each sample, or their mean alone."""
    fn = (lambda outputs, targets: score_of(outputs, targets).mean()) if whole else score_of
    return Metric(fn, name, higher_is_better=True, unit=unit)


def loss(name="loss", unit="raw"):
    """A metric of planted scores for which lower is better."""
    return Metric(score_of, name, higher_is_better=False, unit=unit)


def timed_variant(pair, *, best=None, fp32=False):
    """The tiny model, dynamically quantized, whose rounds are those of a given pair."""
    pairs = {"given": pair, "best": best}
    measures = replace(
        measures_under(ONE_THREAD),
        pair=lambda variant, baseline, cell: pairs[baseline],
        format_gain=lambda variant, cell: 1.0,
    )
    store, subject = Store(ONE_THREAD, build, measures), toy_subject()
    return store.fp32(subject) if fp32 else store.variant(subject, Recipe("dynamic"), "dynamic")


def plain_row(model="Net", variant="static", where="", **known):
    """A row of a report, as plain JSON types, of which only the given is known."""
    return Row.blank(RowKey(where, model, variant)).to_dict() | known


def metric_cells(name="top-1", value=0.95, samples=200, **known):
    """One metric of a row."""
    return {
        "name": name,
        "unit": "fraction",
        "higher_is_better": True,
        "value": value,
        "samples": samples,
        "of": samples,
        "drop": None,
        "flips": None,
        "flipped": None,
        "fake_quantized": None,
        "classes": None,
        "slices": None,
        "slice_count": None,
        "sliced_by": None,
        "worst_flips": None,
    } | known


def latency_cells(speedup=2.0, fp32_ms=8.0, **known):
    """The latency of a row."""
    return {
        "ms": fp32_ms / speedup,
        "fp32_ms": fp32_ms,
        "batch": 16,
        "speedup": speedup,
        "interval_95": [speedup - 0.1, speedup + 0.1],
        "rounds": 13,
        "against_best": None,
        "against_runtime": None,
    } | known


def measured_rows(model="Net", where=""):
    """FP32 and a static variant of a model, with all that can be known."""
    size = {"tensor_bytes": 4_000_000, "file_bytes": 4_100_000}
    share = {"parameters": 0.0, "macs": 0.0, "stayed_fp32": ["fc"]}
    fp32 = plain_row(
        model,
        "fp32",
        where,
        metrics=[metric_cells(value=0.95)],
        size=size,
        fp32_size=4_000_000,
        int8_share=share,
    )
    static = plain_row(
        model,
        "static",
        where,
        metrics=[metric_cells(value=0.94, drop=0.01, flips=6)],
        size={"tensor_bytes": 1_250_000, "file_bytes": None},
        fp32_size=4_000_000,
        int8_share={"parameters": 0.975, "macs": None, "stayed_fp32": []},
        latency=latency_cells(),
    )
    return [fp32, static]


def plain_verdict(row, outcome="PASS", quantity="size", **changed):
    """A verdict on a row's variant, as a worker sends it."""
    return {
        "gate": "max_size_ratio",
        "quantity": quantity,
        "outcome": outcome,
        "sentence": f"{quantity} {outcome}: so it is",
        "limit": 0.3,
        "observed": 0.25,
        **_key(row).to_dict(),
        "metric": None,
        "evidence": {},
        "test": "test_it.py::test_it",
    } | changed


def plain_test(row, outcome="passed", reason=None, **changed):
    """How the test of `plain_verdict` ended."""
    return {
        "nodeid": "test_it.py::test_it",
        "outcome": outcome,
        "variants": [_key(row).to_dict()],
        "reason": reason,
    } | changed


def _key(row):
    return row.key if isinstance(row, Row) else RowKey.of(row)


def layer_cells(name="features.0", share=0.5, sqnr=14.2, faults=(), **known):
    """One layer of an explanation."""
    numbers = (432, 10**6, sqnr, 38.0, 0.01, 0.4, share, share)
    return Layer(name, "Conv2d", *numbers, tuple(faults)).to_dict() | known


def explanation_cells(*layers, **known):
    """What explains a variant: by default three layers, of which the first makes most of the noise."""
    layers = layers or (
        layer_cells("features.0", 0.72, 14.2, ("depthwise, per-tensor",)),
        layer_cells("features.3", 0.08, 31.0),
        layer_cells("classifier", 0.20, 26.5, ("saturates 2.1 % of activations",)),
    )
    return {
        "variant": "static", "model": "Net", "where": "", "layers": list(layers),
        "sqnr": {"whole": 13.6, "weights": 14.0, "activations": 33.1}, "samples": 64, "seconds": 1.5,
        "sentences": [
            "features.0 makes 72 % of the noise in the outputs (depthwise, per-tensor).",
            "Rounding the weights costs most (weights alone 14 dB, activations alone 33 dB).",
            "Activations have 7 bits: this CPU has no VNNI.",
        ],
        "notes": ["pooling was left out"], "operations": [],
    } | known  # fmt: skip


PASTE = """# To paste into conftest.py: quant_static is then built so.
from pytest_quant import Recipe


def pytest_quant_recipes(config):
    return {"static": Recipe("static", keep_fp32=["features.0"])}"""


def remedy_cells(found=True, **known):
    """What `mend` found for a variant, or that it found nothing."""
    line = 'Recipe("static", keep_fp32=["features.0"]) # drop 0.40 pt, 3.70x smaller, 1.8x as fast'
    return {
        "variant": "static", "model": "Net", "where": "", "max_drop": 0.01,
        "drop": 0.004 if found else 0.03, "recipe": {"kind": "static"} if found else None,
        "line": line if found else "", "kept": ["features.0"] if found else [],
        "size_ratio": 0.27 if found else None, "speedup": 1.8 if found else None,
        "evaluations": 5, "builds": 2, "seconds": 34.2,
        "trials": ["1 layer FP32: drop 0.40 pt", "built: drop 0.40 pt"],
        "sentences": ["It holds the limit." if found else "Nothing that was tried holds the limit."],
        "paste": PASTE if found else "",
        "gate": "max_accuracy_drop",
    } | known  # fmt: skip


def slowness_cells(**known):
    """Where the time of a variant goes."""
    operator = {"name": "quantized::conv2d_relu", "does": "int8 convolution"}
    operator |= {"calls": 3.0, "ms": 1.2, "share": 0.6}
    return {
        "variant": "static", "model": "Net", "where": "", "batch": 32, "threads": 1, "ms": 2.0,
        "fp32_ms": 2.1, "operators": [operator], "fp32_operators": [operator | {"name": "aten::conv2d"}],
        "conversions": 4.0, "conversion_share": 0.21,
        "stretches": [{"after": ["features.0"], "operations": ["sigmoid"], "before": ["features.3"]}],
        "stayed": [{"name": "attention", "type": "MultiheadAttention", "macs": 0.31}], "int8_macs": 0.69,
        "seconds": 0.8, "sentences": ["4 conversions take 21 % of the time."], "notes": [],
    } | known  # fmt: skip


def tensors_cells(**known):
    """Which layers of a variant hold its bytes."""
    held = {"layer": "classifier", "type": "Linear", "dtype": "FP32", "bytes": 900_000}
    return {
        "variant": "static", "model": "Net", "where": "", "bytes": 1_250_000, "fp32_bytes": 4_000_000,
        "held": [held, held | {"layer": "", "dtype": "int8", "bytes": 350_000}],
        "float_bytes": 900_000, "least_ratio": 0.26,
        "sentences": ["static holds 1.25 MB; 0.90 MB of it are still FP32."], "notes": [],
    } | known  # fmt: skip


def work_cells(convolution=0.9, linear=0.1):
    """Which kinds of layers FP32's work is in."""
    return {"convolution": convolution, "linear": linear, "recurrent": 0.0, "attention": 0.0}


class Gives(torch.nn.Module):
    """Gives the columns of its inputs that hold its outputs."""

    def __init__(self, start, width):
        super().__init__()
        self.columns = slice(start, start + width)
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, x):
        return x[:, self.columns] * self.scale
