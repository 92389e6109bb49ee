"""Slices: what quant_slices may give, and what is refused by a sentence."""

import enum

import numpy as np
import pytest
import torch

from pytest_quant import QuantStageError
from pytest_quant.subject.slices import check_names, names_of

X, Y = torch.zeros(3, 2), torch.tensor([0, 1, 2])


class Camera(enum.Enum):
    FRONT = 1


class Light(enum.StrEnum):
    DAY = "day"


class Number(enum.IntEnum):
    TWO = 2


def named(given):
    return names_of(lambda x, y: given, X, Y, 3)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["a", "b", "a"], ["a", "b", "a"]),
        (("a", None, "b"), ["a", None, "b"]),
        ([1, True, np.int64(3)], ["1", "True", "3"]),
        ([Camera.FRONT, Light.DAY, Number.TWO], ["Camera.FRONT", "day", "2"]),
        (Y * 2, ["0", "2", "4"]),
        (Y > 1, ["False", "False", "True"]),
        (list(Y), ["0", "1", "2"]),
        (np.array(["a", "b", "ü"]), ["a", "b", "ü"]),
        ((str(i) for i in range(3)), ["0", "1", "2"]),
        (["1", 1, "1 "], ["1", "1", "1 "]),
    ],
)
def test_a_name_for_each_sample(given, names):
    assert named(given) == names


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["a", "b"], "gave 2 names for a batch of 3 samples; expected a callable"),
        (["a"] * 4, "gave 4 names for a batch of 3"),
        ("abc", "quant_slices gave 'abc'; expected"),
        (None, "quant_slices gave None; expected"),
        (7, "quant_slices gave 7; expected"),
        ({"a": 1, "b": 2, "c": 3}, "gave {'a': 1"),
        ({"a", "b", "c"}, "expected a callable"),
        (torch.tensor(1), "gave 1; expected"),
        (
            torch.rand(3),
            "named a sample .*, a float; a name is a text, a whole number or a member of an",
        ),
        (torch.zeros(3, 2, dtype=torch.long), r"named a sample \[0, 0\], a list"),
        ([("a", 1)] * 3, r"named a sample \('a', 1\), a tuple"),
        (["a", "", "b"], "by an empty text; give None"),
        (["a", " \n", "b"], "by an empty text"),
        ([b"a", b"b", b"c"], "named a sample b'a', a bytes"),
    ],
)
def test_what_is_no_name_is_refused(given, said):
    with pytest.raises(QuantStageError, match=said):
        named(given)


@pytest.mark.parametrize(
    ("fn", "said"),
    [
        (["a", "b"], r"quant_slices gave \['a', 'b'\]; expected a callable \(inputs, targets\) ->"),
        ("night", "quant_slices gave 'night'; expected a callable"),
        (lambda x: x, "quant_slices raised on a batch of quant_eval_data: TypeError"),
        (lambda x, y: 1 / 0, "quant_slices raised .*ZeroDivisionError"),
        (lambda x, y: (1 / 0 for _ in y), "quant_slices raised .*ZeroDivisionError"),
    ],
)
def test_what_cannot_be_called_is_refused(fn, said):
    with pytest.raises(QuantStageError, match=said):
        names_of(fn, X, Y, 3)


def test_what_it_writes_into_its_arguments_reaches_nobody():
    inputs, targets = {"x": torch.ones(3), "length": [torch.ones(3)]}, np.array([1, 2, 3])

    def spoils(x, y):
        x["x"] *= 0
        x["length"][0].zero_()
        x["new"] = 1
        y[:] = 0
        return ["a"] * 3

    names_of(spoils, inputs, targets, 3)
    assert inputs["x"].sum() == inputs["length"][0].sum() == 3
    assert (set(inputs), targets.tolist()) == ({"x", "length"}, [1, 2, 3])


def test_what_it_sets_of_pytorch_is_given_back():
    before = torch.get_num_threads()

    def sets(x, y):
        torch.set_num_threads(before + 1)
        torch.set_default_dtype(torch.float64)
        return y

    assert names_of(sets, X, Y, 3) == ["0", "1", "2"]
    assert (torch.get_num_threads(), torch.get_default_dtype()) == (before, torch.float32)


def test_a_name_that_depends_on_how_often_it_was_asked_for_is_refused():
    count = iter(range(100))
    with pytest.raises(QuantStageError, match="names a sample '0', and '3' when it is asked again"):
        check_names(lambda x, y: [next(count) for _ in y], X, Y, 3)
    check_names(None, X, Y, 3)
