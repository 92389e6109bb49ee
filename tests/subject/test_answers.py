"""Answers: the class that outputs name, by hand, and outputs that name none."""

import numpy as np
import pytest
import torch

from pytest_quant.subject.answers import answers_of

NAN = np.nan


def same(found, expected):
    return np.array_equal(found, expected, equal_nan=True)


def test_the_highest_output_is_the_answer_and_leads_the_right_one():
    outputs = torch.tensor([[1.0, 3.0, 2.0], [5.0, 1.0, 0.5], [0.0, 0.0, -1.0]])
    expected = [[1, 3.0, 1.0], [0, 5.0, 0.0], [0, 0.0, NAN]]
    assert same(answers_of(outputs, torch.tensor([2, 0, -100]), 3), expected)
    for targets in (torch.tensor([0.5, 1.0, 2.0]), ["a", "b", "c"], torch.zeros(3, 3).long(), None):
        assert same(answers_of(outputs, targets, 3)[:, 2], [NAN] * 3)
    assert same(answers_of({"logits": outputs}, np.array([2, 0, 7]), 3), expected)
    assert same(answers_of(outputs.half(), torch.tensor([2, 0, 7], dtype=torch.uint8), 3), expected)


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_one_output_names_no_class(shape):
    outputs = torch.tensor([0.5, -2.0]).reshape(shape)
    assert same(answers_of(outputs, torch.tensor([1, 0]), 2), [[NAN, 0.5, NAN], [NAN, -2.0, NAN]])


@pytest.mark.parametrize(
    "outputs",
    [
        torch.zeros(2, 3, 4),
        torch.zeros(3, 2),
        torch.zeros(2, 3).long(),
        torch.zeros(2, 3, dtype=torch.complex64),
        torch.zeros(2, 0),
        torch.tensor(1.0),
        ["a", "b"],
        {"boxes": [torch.zeros(2, 4)]},
        None,
    ],
)
def test_other_outputs_are_no_answers(outputs):
    assert answers_of(outputs, torch.tensor([0, 1]), 2) is None


def test_infinite_outputs_are_answers():
    found = answers_of(torch.tensor([[torch.inf, 0.0], [-torch.inf, NAN]]), torch.tensor([1, 0]), 2)
    assert found[0].tolist() == [0, np.inf, np.inf]
