"""BatchNorm re-estimation: statistics of the data as it is, ranges that fit them, nothing else."""

import copy
import importlib

import pytest
import torch
from torch import nn

from pytest_quant.conditions import engine_set, known_warnings_silenced
from pytest_quant.errors import QuantStageError
from pytest_quant.progress import silent
from pytest_quant.quantize.batchnorm import MOST_BATCHES, reestimate_batchnorm
from pytest_quant.quantize.flows import fx
from pytest_quant.quantize.flows.example import Example
from pytest_quant.recipe import Recipe
from pytest_quant.subject import Subject


@pytest.fixture(autouse=True)
def _silenced():
    with known_warnings_silenced(), engine_set("x86"):
        yield


def images(seed=0, samples=16):
    return torch.randn(samples, 3, 6, 6, generator=torch.Generator().manual_seed(seed)) * 3 + 2


def conv_net():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(64, 5), nn.BatchNorm1d(5))


def prepared(model=None):
    model, inputs = model or conv_net(), images()
    example = Example((inputs,), {}, model.eval()(inputs))
    made = fx.prepare(model.train(), Recipe("qat"), "x86", example)
    made(inputs)
    return made


def subject(train_data, **parts):
    return Subject(conv_net(), train_data=train_data, eval_data=[(images(9), None)], **parts)


def labelled(*batches):
    return [(batch, torch.zeros(len(batch), dtype=torch.long)) for batch in batches]


def norms(model):
    return [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def reestimated(model, data, **parts):
    return reestimate_batchnorm(model, subject(data, **parts), "Net qat", silent)


def test_statistics_are_the_mean_over_the_batches():
    norm = nn.BatchNorm2d(3)
    model = nn.Sequential(norm).train()
    batches = [images(seed) for seed in range(3)]
    reestimated(model, labelled(*batches))
    values = [batch.transpose(0, 1).flatten(1) for batch in batches]
    assert norm.running_mean.allclose(torch.stack([v.mean(1) for v in values]).mean(0), rtol=1e-4)
    assert norm.running_var.allclose(torch.stack([v.var(1) for v in values]).mean(0), rtol=1e-4)
    assert not model.training
    assert norm.momentum == 0.1


def test_only_statistics_and_ranges_of_folded_weights_change():
    model = prepared()
    before = copy.deepcopy(model.state_dict())
    reestimated(model, labelled(images(1), images(2)))
    changed = {name for name, value in model.state_dict().items() if not value.equal(before[name])}
    assert any("running_mean" in name for name in changed)
    assert all(
        any(part in name for part in ("running_", "num_batches", "weight_fake_quant"))
        for name in changed
    )
    assert not any(norm.training for norm in norms(model))


def test_a_folded_weights_range_fits_the_new_statistics():
    model = prepared()
    reestimated(model, labelled(images(1), images(2)))
    intrinsic = importlib.import_module("torch.ao.nn.intrinsic.qat")
    conv = next(m for m in model.modules() if isinstance(m, intrinsic.ConvBn2d))
    scale = conv.bn.weight / (conv.bn.running_var + conv.bn.eps).sqrt()
    largest = (conv.weight * scale.view(-1, 1, 1, 1)).abs().flatten(1).amax(1)
    assert conv.weight_fake_quant.scale.allclose(largest / 127.5, rtol=1e-3)


def test_observers_learn_again_only_if_they_did():
    model = prepared()
    fakes = [m for m in model.modules() if hasattr(m, "observer_enabled")]
    fakes[0].disable_observer()
    before = [int(fake.observer_enabled) for fake in fakes]
    assert {0, 1} == set(before)
    reestimated(model, labelled(images(1)))
    assert [int(fake.observer_enabled) for fake in fakes] == before


def test_statistics_that_lag_behind_are_put_right():
    model = prepared()
    with torch.no_grad():
        for norm in norms(model):
            norm.running_mean.add_(5)
            norm.running_var.mul_(9)
    reestimated(model, labelled(*(images(seed, 64) for seed in range(4))))
    seen = []
    norms(model)[-1].register_forward_hook(lambda norm, args, out: seen.append(out))
    with torch.no_grad():
        model(images(50, 512))
    assert seen[0].mean(0).abs().max() < 0.3
    assert (seen[0].var(0) - 1).abs().max() < 0.6  # dropout is off


def test_it_reads_so_many_batches_at_most():
    read = []

    class Endless:
        def __iter__(self):
            for seed in range(10 * MOST_BATCHES):
                read.append(seed)
                yield images(seed, 2), torch.zeros(2)

    seen = reestimated(nn.Sequential(nn.BatchNorm2d(3)), Endless())
    assert len(read) <= MOST_BATCHES + 1
    assert len(seen) == 2 * MOST_BATCHES


def test_batches_of_one_sample_are_left_out():
    norm = nn.BatchNorm1d(2)
    data = labelled(torch.tensor([[100.0, 100]]), torch.tensor([[0.0, 1], [2, 3]]))
    reestimated(nn.Sequential(norm), data)
    assert norm.running_mean.tolist() == [1, 2]
    with pytest.raises(QuantStageError, match="no batch of two samples or more"):
        reestimated(nn.Sequential(norm), data[:1])


def test_calibration_data_serves_where_there_is_no_training_data():
    norm = nn.BatchNorm1d(2)
    reestimated(nn.Sequential(norm), None, calibration_data=[torch.tensor([[0.0, 1], [2, 3]])])
    assert norm.running_mean.tolist() == [1, 2]


def test_eval_data_is_refused():
    data = labelled(images())
    with pytest.raises(QuantStageError, match="same data as quant_eval_data"):
        reestimate_batchnorm(
            prepared(), Subject(conv_net(), train_data=data, eval_data=data), "Net", silent
        )


@pytest.mark.parametrize("norm", [nn.Identity(), nn.BatchNorm2d(3, track_running_stats=False)])
def test_a_model_without_statistics_is_refused(norm):
    with pytest.raises(QuantStageError, match="found no BatchNorm module"):
        reestimated(nn.Sequential(norm), labelled(images()))
