"""Lookups: int8 embeddings take ids as FP32's do."""

from functools import partial

import pytest
import torch
from builders import ONE_THREAD, kept_db, open_store, toy_subject
from torch import nn

from pytest_quant import Recipe, load_variant

RANDOM = torch.Generator().manual_seed(0)
IDS = torch.randint(0, 20, (32, 12), generator=RANDOM)
STARTS = torch.tensor([0, 0, 2, 0, 3, 1, 0, 0, 2, 0, 3, 1, 0, 0, 2, 0, 3]).cumsum(0)
OTHERS = torch.randint(0, 20, (192, 12), generator=RANDOM)


class Model(nn.Module):
    """Looks ids up, taken as `how` says, and adds up a vector for each sample."""

    def __init__(self, lookup, how):
        super().__init__()
        torch.manual_seed(0)
        self.lookup, self.how, self.head = lookup(), how, nn.Linear(64, 3)

    def forward(self, ids):
        found = self.lookup(*self.how(ids))
        return self.head(found.reshape(ids.shape[0], -1, 64).sum(1))


def model_of(lookup, how):
    return Model(lookup, how).eval()


def subject_of(model):
    data = [(part, model(part).argmax(1)) for part in IDS.split(16)]
    return toy_subject(model, eval_data=data, calibration_data=OTHERS.split(16))


def embedding():
    return nn.Embedding(20, 64)


def bag(**options):
    return nn.EmbeddingBag(20, 64, **({"mode": "sum"} | options))


def mean(**options):
    return bag(mode="mean", **options)


def bags(ids, last=False):
    """Sixteen bags of zero to three ids, one after the other."""
    return [ids.flatten()[: int(STARTS[-1])], STARTS if last else STARTS[:-1]]


LOOKUPS = {
    "first columns": (embedding, lambda ids: [ids[:, :-1]]),
    "one column": (embedding, lambda ids: [ids[:, 3]]),
    "every third": (embedding, lambda ids: [ids[:, ::3]]),
    "transposed": (embedding, lambda ids: [ids.view(-1, 4, 3).transpose(1, 2)[:, 0]]),
    "expanded": (embedding, lambda ids: [ids[:, :1].expand(-1, 5)]),
    "three dimensions": (embedding, lambda ids: [ids.view(-1, 4, 3)]),
    "unfolded": (embedding, lambda ids: [ids.unfold(1, 3, 2)]),
    "diagonal": (embedding, lambda ids: [ids[:, :4].int().flip(1)[:, 1:]]),
    "bag of columns": (bag, lambda ids: [ids[:, 2:9]]),
    "bag of every other": (bag, lambda ids: [ids[:, ::2]]),
    "bag of expanded": (bag, lambda ids: [ids[:, :1].expand(-1, 5)]),
    "bag with offsets": (
        bag,
        lambda ids: [ids.t()[0], torch.arange(16).repeat_interleave(2)[::2]],
    ),
    "mean": (mean, lambda ids: [ids]),
    "mean of every other": (mean, lambda ids: [ids[:, ::2]]),
    "mean of bags": (mean, bags),
    "mean without padding": (partial(mean, padding_idx=3), lambda ids: [ids]),
    "mean of bags without padding": (partial(mean, padding_idx=3), bags),
    "mean up to the last offset": (
        partial(mean, include_last_offset=True),
        partial(bags, last=True),
    ),
    "mean of rows up to the last offset": (
        partial(mean, include_last_offset=True),
        lambda ids: [ids],
    ),
    "sum of rows up to the last offset": (
        partial(bag, include_last_offset=True),
        lambda ids: [ids],
    ),
    "weighted without padding": (
        partial(bag, padding_idx=-17),
        lambda ids: [ids, None, torch.linspace(0, 1, 12).expand(16, -1)],
    ),
}


@pytest.mark.parametrize(("lookup", "how"), LOOKUPS.values(), ids=LOOKUPS)
@pytest.mark.parametrize(
    "recipe", [Recipe("dynamic"), Recipe("static", flow="fx")], ids=["dynamic", "fx"]
)
def test_ids_of_any_layout_and_shape_are_taken(lookup, how, recipe):
    variant = open_store(ONE_THREAD).variant(subject_of(model_of(lookup, how)), recipe)
    assert kept_db(variant) > 20
    assert not variant.int8_share.stayed_fp32


@pytest.mark.parametrize("lookup", [embedding, bag, mean])
@pytest.mark.parametrize(
    "recipe", [Recipe("dynamic"), Recipe("static", flow="fx")], ids=["dynamic", "fx"]
)
def test_ids_may_be_given_by_name(lookup, recipe):
    class ByName(Model):
        def forward(self, ids):
            found = self.lookup(input=ids)
            return self.head(found.reshape(ids.shape[0], -1, 64).sum(1))

    variant = open_store(ONE_THREAD).variant(subject_of(ByName(lookup, None).eval()), recipe)
    assert kept_db(variant) > 20
    assert not variant.int8_share.stayed_fp32


def test_what_was_trained_takes_them_too():
    data = subject_of(model_of(*LOOKUPS["first columns"])).eval_data
    model = model_of(*LOOKUPS["first columns"])
    subject = toy_subject(model, eval_data=data, train_data=[(x.flip(1), y) for x, y in data])
    recipe = Recipe("qat", flow="fx", epochs=1, lr=1e-6)
    assert kept_db(open_store(ONE_THREAD).variant(subject, recipe)) > 25


def test_a_saved_variant_takes_them_as_well(tmp_path):
    model = model_of(*LOOKUPS["three dimensions"])
    dynamic = open_store(ONE_THREAD).variant(subject_of(model), Recipe("dynamic"))
    loaded = load_variant(dynamic.save(tmp_path / "ids.pt"), model)
    assert torch.equal(loaded.model(IDS), dynamic(IDS))


def padded(value, mode):
    def made():
        lookup = bag(mode=mode, padding_idx=3)
        nn.init.constant_(lookup.weight[3], value)
        return lookup

    return made


@pytest.mark.parametrize(
    "recipe", [Recipe("dynamic"), Recipe("static", flow="fx")], ids=["dynamic", "fx"]
)
@pytest.mark.parametrize("mode", ["sum", "mean"])
@pytest.mark.parametrize("value", [5.0, 0.0])
def test_a_bag_leaves_out_a_row_of_its_own_as_fp32_does(recipe, value, mode):
    subject = subject_of(model_of(padded(value, mode), lambda ids: [ids]))
    variant = open_store(ONE_THREAD).variant(subject, recipe)
    assert kept_db(variant) > 20
    assert not variant.int8_share.stayed_fp32


@pytest.mark.parametrize("how", [{"mode": "max"}, {"max_norm": 0.5}], ids=str)
def test_a_bag_without_a_kernel_stays_fp32(how):
    variant = open_store(ONE_THREAD).variant(
        subject_of(model_of(partial(bag, **how), lambda ids: [ids])), Recipe("dynamic")
    )
    assert variant.int8_share.stayed_fp32 == ("lookup",)
    assert kept_db(variant) > 20
