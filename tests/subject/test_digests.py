"""Digests: a sample is known by its content, whatever batch it came in."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_quant.subject.digests import DIGEST_BYTES, digests, sample_digests

DTYPES = [
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
    torch.complex64,
]

samples = st.lists(
    st.tuples(st.lists(st.integers(-9, 9), min_size=3, max_size=3), st.integers(0, 3)),
    min_size=1,
    max_size=12,
)
forms = st.sampled_from(["pair", "dict", "nested", "object", "words", "arrays", "columns"])


def batch_of(rows, form):
    """The rows as a loader would give them, in one of the usual forms."""
    x = torch.tensor([row[0] for row in rows], dtype=torch.float32)
    y = torch.tensor([row[1] for row in rows])
    words = [f"word {row[1]}" for row in rows]
    return {
        "pair": (x, y),
        "dict": {"ids": x, "labels": y, "task": "parity"},
        "nested": ([x, {"mask": x > 0, "half": x.bfloat16()}], (y, [y])),
        "object": SimpleNamespace(pixels=x, labels=y),
        "words": (x, words),
        "arrays": (x, y.numpy()),
        "columns": (x, {"first": [row[1] for row in rows], "last": [row[0][0] for row in rows]}),
    }[form]


def digest_each(rows, form):
    return digests(batch_of(rows, form), len(rows))


@settings(max_examples=60, deadline=None)
@given(rows=samples, form=forms, cuts=st.lists(st.integers(1, 4), min_size=1, max_size=12))
def test_equal_samples_have_equal_digests_in_any_batch(rows, form, cuts):
    whole = digest_each(rows, form)
    pieces, start = [], 0
    for index in range(len(rows)):
        if start >= len(rows):
            break
        stop = start + cuts[index % len(cuts)]
        pieces += digest_each(rows[start:stop], form)
        start = stop
    assert pieces == whole


@settings(max_examples=60, deadline=None)
@given(rows=samples, form=forms, data=st.data())
def test_one_change_changes_one_digest(rows, form, data):
    index = data.draw(st.integers(0, len(rows) - 1), "sample")
    position = data.draw(st.integers(0, 3), "position")
    if form in ("words", "arrays", "columns") or position == 3:
        changed = (rows[index][0], rows[index][1] + 1)
    else:
        inputs = list(rows[index][0])
        inputs[position] += 1
        changed = (inputs, rows[index][1])
    others = [*rows[:index], changed, *rows[index + 1 :]]
    differ = [
        a != b for a, b in zip(digest_each(rows, form), digest_each(others, form), strict=True)
    ]
    assert differ == [place == index for place in range(len(rows))]


@settings(max_examples=60, deadline=None)
@given(rows=samples, form=forms)
def test_two_samples_are_told_apart_exactly_when_they_differ(rows, form):
    seen = digest_each(rows, form)
    for i, one in enumerate(rows):
        for j, other in enumerate(rows):
            assert (seen[i] == seen[j]) == (one == other)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_type_of_number_is_told_apart(dtype):
    values = torch.tensor([[0, 1], [1, 1], [0, 1]]).to(dtype)
    first, second, third = digests(values, 3)
    assert first == third != second
    assert len(first) == DIGEST_BYTES


def test_the_same_bits_of_another_type_or_shape_are_another_sample():
    zeros = [torch.zeros(1, 4), torch.zeros(1, 4).int(), torch.zeros(1, 2, 2), torch.zeros(1, 8)]
    assert len({digests(zero, 1)[0] for zero in zeros}) == 4


def test_a_view_is_the_same_sample_as_its_copy():
    wide = torch.arange(24.0).reshape(4, 6)
    assert digests(wide.T[:3], 3) == digests(wide.T[:3].contiguous(), 3)


def test_gradients_do_not_matter():
    assert digests(torch.ones(2, 3, requires_grad=True), 2) == digests(torch.ones(2, 3), 2)


def test_what_belongs_to_no_sample_belongs_to_all():
    x, table = torch.arange(6.0).reshape(3, 2), torch.zeros(5, 2)
    before = digests({"x": x, "table": table, "scale": torch.tensor(1.0)}, 3)
    after = digests({"x": x, "table": table, "scale": torch.tensor(2.0)}, 3)
    assert all(a != b for a, b in zip(before, after, strict=True))


def test_the_order_of_a_dict_does_not_matter():
    x, y = torch.zeros(2, 3), torch.ones(2)
    assert digests({"x": x, "y": y}, 2) == digests({"y": y, "x": x}, 2)


def test_a_pair_in_a_batch_of_two_is_still_a_pair():
    x, y = torch.arange(6.0).reshape(2, 3), torch.tensor([0, 1])
    first, second = digests((x, y), 2)
    assert [first] == digests((x[:1], y[:1]), 1)
    assert [second] == digests((x[1:], y[1:]), 1)


def test_numbers_side_by_side_do_not_run_together():
    one, other = ([1], [12]), ([11], [2])
    assert digests(one, 1) != digests(other, 1)


def test_an_array_too_long_to_print_is_read_to_its_end():
    long = np.zeros((2, 5000))
    other = long.copy()
    other[1, 2500] = 1
    before, after = digests((torch.zeros(2, 1), long), 2), digests((torch.zeros(2, 1), other), 2)
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_an_empty_batch_has_no_digests():
    assert digests((torch.zeros(0, 3), torch.zeros(0)), 0) == []


def test_a_sample_is_known_by_its_inputs_and_by_its_target():
    x, y = torch.tensor([[0.0], [0.0], [1.0]]), torch.tensor([0, 1, 0])
    of_inputs, of_samples = sample_digests(x, y, 3)
    assert of_inputs == digests(x, 3)
    assert of_inputs[0] == of_inputs[1] != of_inputs[2]
    assert len(set(of_samples)) == 3
    again = sample_digests(x.flip(0), y.flip(0), 3)
    assert again == (of_inputs[::-1], of_samples[::-1])


def test_inputs_and_targets_are_told_apart():
    x, y = torch.zeros(1, 2), torch.ones(1, 2)
    assert sample_digests(x, y, 1)[1] != sample_digests(y, x, 1)[1]


def test_every_bit_counts():
    numbers = torch.zeros(1, 40_000, dtype=torch.uint8)
    seen = {digests(numbers, 1)[0]}
    for place in (0, 1, 239, 240, 241, 1024, 39_999):
        for bit in range(8):
            other = numbers.clone()
            other[0, place] = 1 << bit
            seen.add(digests(other, 1)[0])
    assert len(seen) == 1 + 7 * 8
    assert digests(torch.tensor([[0.0]]), 1) != digests(torch.tensor([[-0.0]]), 1)


def test_digests_are_those_that_committed_baselines_have():
    """Another value needs another `VERSION` in baseline/version.py."""
    batch = {"x": torch.arange(6.0).reshape(2, 3), "note": ["a", "b"], "half": torch.ones(2).half()}
    _, samples = sample_digests(batch, torch.tensor([0, 1]), 2)
    assert [each.hex() for each in samples] == [
        "214a8bb87c396b35509bc9c40a2838fa",
        "d82b5ae0f1dc511cdcc5edd4e3e05ec4",
    ]


class Picture:
    """As an image of PIL's: its text is its address, and its values are an array's."""

    def __init__(self, values):
        self.values = values

    def __repr__(self):
        return f"<Picture at {id(self):#x}>"

    @property
    def __array_interface__(self):
        return np.array(self.values).__array_interface__


class Point:
    """Has no text of its own."""

    __slots__ = ("x",)

    def __init__(self, x):
        self.x = x


@pytest.mark.parametrize("form", [lambda x: x, lambda x: {"one": x}, lambda x: [x, "name"]])
@pytest.mark.parametrize("kind", [Picture, Point])
def test_objects_are_known_by_what_they_hold(kind, form):
    first, again, other = ([form(kind([i, n])) for i in range(3)] for n in (1, 1, 2))
    assert digests(first, 3) == digests(again, 3)
    assert not set(digests(first, 3)) & set(digests(other, 3))


def test_the_text_of_an_address_is_a_text():
    assert digests(["a at 0x1f", "b at 0x1f"], 2) == digests(["a at 0x1f", "b at 0x1f"], 2)
    assert len(set(digests(["a at 0x1f", "b at 0x1f"], 2))) == 2
