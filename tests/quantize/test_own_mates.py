"""What a user's build makes of a sample alone: it ships for single samples as well as for batches."""

import pytest
import torch
from builders import batches, tiny_linear, toy_variant
from torch import nn

from pytest_quant import Recipe
from pytest_quant.errors import QuantStageError


def int8(module):
    return torch.ao.quantization.quantize_dynamic(module, {nn.Linear})


class Normed(nn.Module):
    """Of the statistics of its data, so that those of a batch give nearly the same."""

    def __init__(self, kind=nn.BatchNorm1d):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm, self.last = nn.Linear(8, 32), kind(32), nn.Linear(32, 3)
        with torch.no_grad():
            for _ in range(200):
                self.train()(batches(512)[0][0])

    def forward(self, x):
        return self.last(self.norm(self.first(x)).relu())


def of_the_batch(module):
    module = int8(module)
    module.norm.track_running_stats = False
    module.norm.running_mean = module.norm.running_var = None
    return module


class Server:
    """A wrapper whose module was left in train mode."""

    size_bytes = 100

    def __init__(self, module):
        self.inner = int8(module).train()

    def __call__(self, x):
        return self.inner(x)


class Centred(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        y = self.inner(x)
        return y - y.mean(0)


def of_one_size(module, size=16, quantize=of_the_batch):
    quantized = quantize(module)

    def run(x):
        if len(x) != size:
            raise ValueError(f"got {len(x)} samples, expected {size}")
        return quantized(x)

    return run


def built(build, model, **parts):
    return toy_variant(Recipe("custom", build=build, quantized=False), model=model.eval(), **parts)


@pytest.mark.parametrize("build", [of_the_batch, Server])
def test_a_norm_of_the_batch_cannot_run_on_one_sample(build):
    with pytest.raises(
        QuantStageError, match=r"cannot run on one sample alone, as FP32 can: .*Batch"
    ):
        built(build, Normed())


@pytest.mark.parametrize(
    ("build", "model"),
    [(lambda m: Centred(int8(m)), tiny_linear()), (of_one_size, Normed())],
    ids=["less the mean", "batches of one size"],
)
def test_what_answers_by_its_batch_is_refused(build, model):
    with pytest.raises(
        QuantStageError, match=r"who shares its batch: of \d samples .*, while FP32's stay"
    ):
        built(build, model)


def test_fp32_that_depends_on_its_batch_is_told_and_the_variant_is_not_blamed():
    (note,) = [n for n in built(int8, Centred(tiny_linear())).notes if "shares" in n]
    assert note.startswith("FP32's own outputs depend on who shares a sample's batch: of 8 samples")


def test_one_range_for_all_is_told_since_the_metric_sees_what_it_costs():
    data = [(x.clone(), y) for x, y in batches(seed=1)]
    for x, _ in data:
        x[3] *= 3000
    (note,) = [n for n in built(int8, tiny_linear(), eval_data=data).notes if "shares" in n]
    assert note.startswith("a sample's outputs depend on who shares its batch: of 8 samples")


@pytest.mark.parametrize(
    "build", [int8, lambda m: m, lambda m: lambda x: m(x[:, :]).reshape(16, 3)]
)
def test_builds_that_take_each_sample_by_itself_are_not_spoken_of(build):
    assert not [n for n in built(build, Normed()).notes if "shares" in n]


def test_a_build_of_one_size_may_take_batches_of_two():
    data = [(x[:2], y[:2]) for x, y in batches(64)]
    built(lambda module: of_one_size(module, 2, int8), tiny_linear(), eval_data=data)


class Hidden(nn.Module):
    """Gives the state of a recurrent layer too, which has as many layers as the batch samples."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.gru, self.last = nn.GRU(8, 16, 2, batch_first=True), nn.Linear(16, 3)

    def forward(self, x):
        y, state = self.gru(x[:, None])
        return {"logits": self.last(y[:, -1]), "state": state}


def test_an_axis_that_has_the_size_of_the_batch_by_chance_is_none_of_samples():
    data = [(x[:2], y[:2]) for x, y in batches(64)]
    variant = built(lambda m: m, Hidden(), eval_data=data)
    assert not any("who shares" in note for note in variant.notes)
