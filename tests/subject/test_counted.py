"""Counted: whatever form a batch has, its samples are counted, or the error says how to write it."""

import numpy as np
import pytest
import torch
from builders import ONE_THREAD, batches, kept_db, toy_subject, toy_variant
from torch import nn
from torch.nn.utils.rnn import pack_sequence

from pytest_quant import QuantStageError, Recipe, Subject
from pytest_quant.store.open import open_store
from pytest_quant.subject.counted import check_samples
from pytest_quant.subject.digests import digests
from pytest_quant.subject.samples import is_by_sample, rows, size_of, taken, tensors_in

SAMPLES, SIZE = 24, 8


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Linear(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.fc = nn.Linear(width, 3)

    def forward(self, x):
        return self.fc(x)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.fc = nn.LSTM(4, 6), nn.Linear(6, 3)

    def forward(self, packed):
        _, (hidden, _) = self.lstm(packed)
        return self.fc(hidden[-1])


class Bag(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.fc = nn.EmbeddingBag(50, 8), nn.Linear(8, 3)

    def forward(self, text, offsets):
        return self.fc(self.words(text, offsets))


class Images(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3)

    def forward(self, images):  # a list, as torchvision's detectors take it
        return torch.stack([self.conv(image[None]).mean((0, 2, 3)) for image in images])


LABELS = list((torch.arange(SAMPLES) % 3).split(SIZE))
NUMBERS = list(drawn(SAMPLES, 4).split(SIZE))
SEQUENCES = [drawn(2 + i % 5, 4, seed=i) for i in range(SAMPLES)]
PACKED = [
    pack_sequence(SEQUENCES[i : i + SIZE], enforce_sorted=False) for i in range(0, SAMPLES, SIZE)
]
TEXTS = [[f"text {i} {k}" for k in range(SIZE)] for i in range(3)]
PICTURES = [[drawn(3, 6, 6, seed=10 * i + k) for k in range(SIZE)] for i in range(3)]
LENGTHS = [torch.arange(SIZE) % 3 + 1 for _ in range(3)]
BAGS = [
    (torch.arange(int(n.sum())) % 50 + i, torch.cat([torch.zeros(1).long(), n.cumsum(0)[:-1]]))
    for i, n in enumerate(LENGTHS)
]


def lengths(model, texts):
    return model(torch.tensor([[float(len(text)), 1, 0, 0] for text in texts]))


def evaluated(model, inputs, kind=None, targets=LABELS, **parts):
    torch.manual_seed(0)
    data = list(zip(inputs, targets, strict=True))
    store, subject = open_store(ONE_THREAD), Subject(model().eval(), eval_data=data, **parts)
    return (store.variant(subject, Recipe(kind)) if kind else store.fp32(subject)).evaluation


ARRAYS = [x.numpy() for x in NUMBERS]
FROM_ARRAY = {"forward": lambda model, x: model(torch.from_numpy(x))}
OFFSETS_FIRST = {"batch": lambda b: ({"offsets": b[0][1], "text": b[0][0]}, b[1])}
STACKED = {
    "batch": lambda b: (torch.stack(b[0]), b[1]),
    "forward": lambda model, x: model(list(x)),
}


@pytest.mark.parametrize("kind", [None, "dynamic"])
@pytest.mark.parametrize(
    ("model", "inputs", "parts", "distinct"),
    [
        (Linear, TEXTS, {"forward": lengths}, SAMPLES),
        (Linear, ARRAYS, FROM_ARRAY, SAMPLES),
        (Recurrent, PACKED, {}, SAMPLES),
        (Bag, BAGS, OFFSETS_FIRST, SAMPLES),
    ],
)
def test_samples_are_counted_in_every_form(kind, model, inputs, parts, distinct):
    found = evaluated(model, inputs, kind, **parts)
    assert len(found) == SAMPLES
    assert len(found.inputs) == distinct


def test_a_stack_of_images_is_given_to_a_model_that_takes_a_list():
    assert len(evaluated(Images, PICTURES, **STACKED)) == SAMPLES
    odd = [[drawn(3, 6 + i, 6, seed=i)] for i in range(4)]
    one = STACKED | {"batch": lambda b: (b[0][0][None], b[1])}
    assert len(evaluated(Images, odd, targets=[torch.tensor([0])] * 4, **one)) == 4


@pytest.mark.parametrize(
    ("model", "inputs", "sentence"),
    [
        (Linear, TEXTS, r"a list of 8 texts as inputs.*quant_forward.*or let quant_batch"),
        (Linear, ["one text"] * 3, "a str as inputs, in which no samples can be counted"),
        (Linear, [torch.tensor(1.0)] * 3, "no samples can be counted"),
        (Linear, [{}] * 3, "a dict as inputs, in which no samples"),
        (Linear, ARRAYS, r"NumPy arrays as inputs.*torch.from_numpy\(inputs\)"),
        (Bag, BAGS, r"with 8 targets.*'offsets': offsets, 'text': text"),
        (Images, PICTURES, r"3 inputs with 8 targets.*torch.stack.*quant_forward.*list\(x\)"),
    ],
)
def test_what_cannot_be_counted_is_refused_with_the_way_to_write_it(model, inputs, sentence):
    with pytest.raises(QuantStageError, match=sentence):
        evaluated(model, inputs)


@pytest.mark.parametrize("place", [0, 2, 3])
@pytest.mark.parametrize("form", [lambda x: x, lambda x: {"x": x}, lambda x: [x]])
def test_a_batch_without_samples_is_told_by_its_number(place, form):
    given = [(form(x), y) for x, y in batches(48)]
    given.insert(place, (form(torch.zeros(0, 8)), torch.zeros(0, dtype=torch.long)))
    subject = toy_subject(eval_data=given, forward=lambda model, x: model(next(tensors_in(x))))
    with pytest.raises(
        QuantStageError, match=rf"batch {place + 1} of .* has no samples: .*\[0, 8\]"
    ):
        _ = open_store(ONE_THREAD).fp32(subject).evaluation


def test_a_batch_without_samples_trains_and_calibrates_nothing():
    empty = (torch.zeros(0, 8), torch.zeros(0, dtype=torch.long))
    given = [empty, *batches(seed=3), empty]
    recipes = [Recipe("static"), Recipe("qat", epochs=1)]
    for recipe in recipes:
        found = toy_variant(recipe, calibration_data=given, train_data=given)
        plain = toy_variant(recipe, calibration_data=given[1:-1], train_data=given[1:-1])
        assert kept_db(found) == pytest.approx(kept_db(plain), abs=3)


def boxes(count):
    return {"boxes": torch.zeros(count, 4), "labels": torch.zeros(count)}


@pytest.mark.parametrize(
    "targets",
    [
        [boxes(1), boxes(4), boxes(2)],
        (boxes(1), boxes(4), boxes(2)),
        ["a", "b", "c"],
        ("a", "b", "c"),
        [0, 1, 2],
        np.zeros(3),
        {"mask": torch.zeros(3, 8, 8), "names": ["x", "y"]},
        (torch.zeros(3), torch.zeros(3, 2)),
        torch.zeros(3, 2),
        pack_sequence(SEQUENCES[:3], enforce_sorted=False),
    ],
)
def test_targets_of_every_form_are_counted(targets):
    check_samples(torch.zeros(3, 2), targets)
    with pytest.raises(QuantStageError, match=r"gave 4 inputs with (2|3) targets"):
        check_samples(torch.zeros(4, 2), targets)


@pytest.mark.parametrize(
    ("inputs", "size"),
    [
        (["a", "b"], 2),
        ((["a", "b", "c"], ("d", "e", "f")), 3),  # pairs of texts
        ([[1, 2, 3], [4]], 2),  # ids of two texts
        ({"text": ["a"] * 5}, 5),
        ({"scale": torch.tensor(1.0), "x": torch.zeros(4, 2)}, 4),
        (np.zeros((6, 2)), 6),
        (PACKED[0], SIZE),
        ("a", 0),
        ([], 0),
        (None, 0),
    ],
)
def test_sizes(inputs, size):
    assert size_of(inputs) == size
    if size:
        assert size_of(taken(inputs, 2 * size + 1)) == 2 * size + 1
        assert size_of(taken(inputs, 1)) == 1


def test_a_packed_sequence_is_known_by_its_samples_whatever_batch_they_came_in():
    whole = digests(PACKED[0], SIZE)
    pair = pack_sequence([SEQUENCES[5], SEQUENCES[2]], enforce_sorted=False)
    assert digests(pair, 2) == [whole[5], whole[2]]
    assert digests(rows(PACKED[0], [5, 2], SIZE), 2) == [whole[5], whole[2]]


def test_the_boxes_of_an_image_belong_to_no_other_image():
    two = [boxes(1), {"boxes": torch.ones(4, 4), "labels": torch.zeros(4)}]
    first, second = digests((torch.zeros(2, 3), two), 2)
    assert digests((torch.zeros(1, 3), two[1:]), 1) == [second]
    assert digests((torch.zeros(1, 3), two[:1]), 1) == [first]


def test_columns_in_a_batch_of_two_are_no_samples():
    table = torch.zeros(5, 2)
    assert not is_by_sample((torch.zeros(2, 3), table), 2)
    assert not is_by_sample([torch.zeros(2, 3), torch.zeros(2)], 2)
    assert is_by_sample([torch.zeros(4, 3), torch.zeros(5, 3)], 2)


def test_sparse_samples_are_refused_with_what_to_write():
    x = drawn(SIZE, 4)
    data = [(x.relu().to_sparse(), LABELS[0])]
    with pytest.raises(QuantStageError, match=r"sparse inputs \(sparse_coo\).*\.to_dense\(\)"):
        open_store(ONE_THREAD).fp32(Subject(Linear(), eval_data=data))
    subject = Subject(
        Linear(),
        eval_data=data,
        batch=lambda batch: (batch[0].to_dense(), batch[1]),
        forward=lambda model, x: model(x.to_sparse().to_dense()),
    )
    assert len(open_store(ONE_THREAD).fp32(subject).evaluation) == SIZE
