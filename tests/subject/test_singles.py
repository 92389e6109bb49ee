"""Singles: data that yields one sample at a time is put together to batches."""

import numpy as np
import pytest
import torch
from builders import ONE_THREAD, batches, kept_db, open_store, tiny_linear, toy_subject
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from pytest_quant import Recipe
from pytest_quant.errors import QuantStageError
from pytest_quant.subject.batches import count_of, each_batch
from pytest_quant.subject.singles import is_single

ROW, IMAGE = torch.zeros(8), torch.zeros(3, 8, 8)
PAIRS = [(x, int(y)) for rows, labels in batches(80) for x, y in zip(rows, labels, strict=True)]


class Stream(IterableDataset):
    def __init__(self, items):
        self.items = items

    def __iter__(self):
        yield from self.items


@pytest.mark.parametrize(
    "item",
    [
        (IMAGE, 3),
        [IMAGE, torch.tensor(3)],
        (IMAGE.numpy(), np.int64(3)),
        ({"pixel_values": IMAGE}, True),
        {"input_ids": torch.zeros(7, dtype=torch.long), "labels": 1},
        (ROW, 0.5),
    ],
)
def test_what_has_one_number_as_its_label_is_one_sample(item):
    assert is_single(item)


@pytest.mark.parametrize(
    "item",
    [
        (IMAGE[None], torch.tensor([3])),
        (ROW, ROW),
        {"x": ROW[None], "labels": [1]},
        IMAGE,
        (torch.zeros(4, 8), [1, 2, 3, 4]),
        ("a text", 1),
        (3, 4),
        None,
    ],
)
def test_all_else_may_be_a_batch(item):
    assert not is_single(item)


@pytest.mark.parametrize(
    ("item", "like", "single"),
    [
        (IMAGE, torch.zeros(16, 3, 8, 8), True),
        (torch.zeros(3, 9, 7), torch.zeros(16, 3, 8, 8), True),
        (torch.zeros(16, 8, 8), torch.zeros(16, 3, 8, 8), False),
        (torch.zeros(2, 3, 8, 8), torch.zeros(16, 3, 8, 8), False),
        ((IMAGE, IMAGE[0]), torch.zeros(16, 3, 8, 8), True),
        ({"ids": torch.arange(5)}, {"ids": torch.zeros(4, 9, dtype=torch.long)}, True),
        (torch.zeros(5), torch.zeros(4, 9), False),
    ],
)
def test_inputs_alone_are_one_sample_where_they_look_like_a_row(item, like, single):
    assert is_single(item, like) is single


@pytest.mark.parametrize("data", [PAIRS, Stream(PAIRS), DataLoader(PAIRS, batch_size=None)])
def test_they_are_put_together(data):
    found = list(each_batch(data, "quant_eval_data"))
    assert [len(x) for x, _ in found] == [32, 32, 16]
    assert torch.equal(torch.cat([y for _, y in found]), torch.tensor([y for _, y in PAIRS]))


def test_a_quant_batch_gets_them_as_they_are():
    found = list(each_batch(PAIRS, "quant_eval_data", lambda pair: (pair[0][None], [pair[1]])))
    assert len(found) == 80


def test_batches_are_counted_of_singles_and_of_datasets():
    class Rows(torch.utils.data.Dataset):
        def __len__(self):
            return 80

        def __getitem__(self, i):
            return PAIRS[i]

    counts = [count_of(data, "f") for data in (PAIRS, Rows(), batches(80), Stream(PAIRS))]
    assert counts == [3, 3, 5, None]


def test_samples_that_make_no_batch_are_told_to_be_wrapped():
    data = [(torch.zeros(3, n, 8), 1) for n in (4, 5, 6)]
    with pytest.raises(QuantStageError, match=r"quant_eval_data yields single.*in a DataLoader"):
        list(each_batch(data, "quant_eval_data"))


def test_all_data_of_a_model_may_be_singles():
    subject = toy_subject(
        tiny_linear(),
        eval_data=Stream(PAIRS),
        calibration_data=[x.flip(0) for x, _ in PAIRS],
        train_data=[(x.flip(0), y) for x, y in PAIRS],
    )
    store = open_store(ONE_THREAD)
    fp32 = store.fp32(subject)
    assert len(fp32.evaluation) == 80
    assert (
        "quant_eval_data yields single samples, which are taken in batches of 32" in fp32.notes[0]
    )
    assert kept_db(store.variant(subject, Recipe("static"))) > 20
    assert len(store.variant(subject, Recipe("qat", epochs=1)).evaluation) == 80


def test_images_without_labels_calibrate_by_whole_images():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 2)).eval()
    images = torch.randn(64, 3, 8, 8)
    data = [(part, model(part).argmax(1)) for part in images[:32].split(16)]
    subject = toy_subject(model, eval_data=data, calibration_data=list(images[32:]))
    assert kept_db(open_store(ONE_THREAD).variant(subject, Recipe("static"))) > 25
