"""Spread: batches scored by other processes give what one gives, and who dies or differs is named."""

import os
import signal
from dataclasses import fields

import numpy as np
import pytest
import torch
from builders import ONE_THREAD, batches, tiny_linear, toy_subject
from torch.utils.data import DataLoader, TensorDataset

from pytest_quant import Metric, QuantStageError, Recipe, open_store
from pytest_quant.store.spread import parcel
from pytest_quant.store.spread.spread import Spread

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def loky():
    made = Spread(2)
    yield made
    made.close()


def loader(samples=90, size=8, shuffle=False, seed=1):
    x = torch.randn(samples, 8, generator=torch.Generator().manual_seed(seed))
    return DataLoader(TensorDataset(x, x[:, :3].argmax(1)), batch_size=size, shuffle=shuffle)


def assert_same(one, other):
    for field in fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, np.ndarray):
            assert (a == b).all(), field.name
        elif field.name == "scores":
            assert all((a[name] == b[name]).all() for name in (*a, *b))
        else:
            assert a == b, field.name


class Count:
    """A metric that gathers outputs itself: how many are right."""

    def __init__(self):
        self.right = 0

    def reset(self):
        self.right = 0

    def update(self, outputs, targets):
        self.right += int((outputs.argmax(1) == targets).sum())

    def compute(self):
        return float(self.right)


RECIPES = [Recipe("dynamic"), Recipe("static"), Recipe("qat", epochs=1), Recipe("weight_only")]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.kind)
def test_scores_and_bits_are_those_of_one_process(loky, recipe):
    assert_spread_like_alone(loky, recipe)


def test_ray_gives_the_same():
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    spread = Spread(2, "ray")
    try:
        assert_spread_like_alone(spread, Recipe("qat", epochs=1))
    finally:
        spread.close()
        ray.shutdown()


def assert_spread_like_alone(spread, recipe):
    parts = {"eval_data": loader(), "train_data": batches(seed=3)}
    alone = open_store(ONE_THREAD).variant(toy_subject(**parts), recipe)
    wide = open_store(ONE_THREAD, spread=spread).variant(toy_subject(**parts), recipe)
    assert_same(alone.evaluation, wide.evaluation)
    assert_same(alone.fp32.evaluation, wide.fp32.evaluation)
    assert alone.notes == wide.notes


@pytest.mark.parametrize("data", [batches(90, size=8), loader(shuffle=True), loader().dataset])
def test_lists_shuffled_loaders_and_datasets(loky, data):
    alone = open_store(ONE_THREAD).variant(toy_subject(eval_data=data), Recipe("dynamic"))
    wide = open_store(ONE_THREAD, spread=loky).variant(
        toy_subject(eval_data=data), Recipe("dynamic")
    )
    assert alone.evaluation.values == wide.evaluation.values
    assert (alone.evaluation.samples == wide.evaluation.samples).all()
    assert not any("one process" in note for note in wide.notes)


def test_a_metric_that_gathers_gets_outputs_in_order(loky):
    metric = Metric(Count(), "right", higher_is_better=True, unit="raw")
    parts = {"eval_data": loader(), "metric": metric}
    alone = open_store(ONE_THREAD).variant(toy_subject(**parts), Recipe("static"))
    wide = open_store(ONE_THREAD, spread=loky).variant(toy_subject(**parts), Recipe("static"))
    assert alone.evaluation.values == wide.evaluation.values


def test_what_cannot_be_spread_is_done_here_and_says_why(loky):
    class Own(DataLoader):
        def __iter__(self):
            return super().__iter__()

    def build(model):
        return torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear})

    data = loader()
    for subject, recipe, why in (
        (toy_subject(eval_data=Own(data.dataset, batch_size=8)), Recipe("dynamic"), "in one order"),
        (toy_subject(eval_data=data), Recipe("custom", build=build), "made by code of yours"),
    ):
        variant = open_store(ONE_THREAD, spread=loky).variant(subject, recipe)
        assert len(variant.evaluation) == 90
        assert any("evaluated by one process, not by 2" in n and why in n for n in variant.notes)


class Fatal(torch.nn.Module):
    """Ends the process on one sample, if that is a worker's."""

    def __init__(self, here, place):
        super().__init__()
        self.inner = tiny_linear()
        self.here, self.place = here, place

    def forward(self, x):
        if os.getpid() != self.here and (self._is_the_first() or self._always(x)):
            os.kill(os.getpid(), signal.SIGKILL)
        return self.inner(x)

    def _is_the_first(self):
        try:
            os.rename(f"{self.place}.once", f"{self.place}.done")  # which only one worker can
        except FileNotFoundError:
            return False
        return True

    def _always(self, x):
        return os.path.exists(f"{self.place}.always") and bool((x[:, 0] == 7).any())


def fatal(tmp_path, how, loky):
    (tmp_path / f"how.{how}").touch()
    data = loader()
    data.dataset.tensors[0][8 * 5 + 3, 0] = 7  # in batch 5
    model = Fatal(os.getpid(), str(tmp_path / "how")).eval()
    subject = toy_subject(model, eval_data=data, calibration_data=None)
    return open_store(ONE_THREAD, spread=loky).fp32(subject)


def test_a_worker_that_dies_once_is_started_again(tmp_path, loky):
    assert len(fatal(tmp_path, "once", loky).evaluation) == 90
    assert (tmp_path / "how.done").exists()


def test_a_batch_that_ends_every_worker_is_named(tmp_path, loky):
    with pytest.raises(QuantStageError, match=r"died on batch 5 of quant_eval_data with fp32"):
        _ = fatal(tmp_path, "always", loky).evaluation


def test_a_worker_of_another_machine_is_refused(tmp_path, loky, monkeypatch):
    monkeypatch.setattr(parcel, "this_machine", lambda: ("2.0.0", "AVX512", True))
    with pytest.raises(QuantStageError, match=r"has torch .* in place of 2\.0\.0"):
        _ = open_store(ONE_THREAD, spread=loky).fp32(toy_subject(eval_data=loader())).evaluation


def test_an_error_of_a_worker_is_the_error_of_a_run_without(loky):
    def broken(model, x):
        if (x[:, 0] == 7).any():
            raise ValueError("no sevens")
        return model(x)

    data = loader()
    data.dataset.tensors[0][60, 0] = 7
    errors = []
    for chosen in (None, loky):
        subject = toy_subject(eval_data=data, forward=broken)
        with pytest.raises(QuantStageError) as caught:
            _ = open_store(ONE_THREAD, spread=chosen).fp32(subject).evaluation
        errors.append(caught.value.sentence)
    assert errors[0] == errors[1]
    assert "no sevens" in errors[0]
