"""What dynamic gives a sample beside a far larger one is told, by how much; and told of no other."""

import pytest
import torch
from builders import batches, tiny_linear, toy_variant

from pytest_quant import Recipe


def with_outlier(times):
    data = [(x.clone(), y) for x, y in batches(seed=1)]
    for x, _ in data:
        x[3] *= times
    return data


def notes(variant):
    return [note for note in variant.notes if "who shares its batch" in note]


def test_a_large_sample_that_costs_the_others_is_told_in_decibels():
    (note,) = notes(toy_variant("dynamic", eval_data=with_outlier(3000)))
    decibels = float(note.split(" dB at worst")[0].rsplit(" ", 1)[1])
    assert decibels < 5  # nearly all of the others is lost


@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_ordinary_batches_are_not_spoken_of(kind):
    assert notes(toy_variant(kind)) == []


def test_static_has_one_range_for_all_batches():
    assert (
        notes(toy_variant(Recipe("static", observer="minmax"), eval_data=with_outlier(3000))) == []
    )


def test_of_fp32_that_depends_on_its_batch_itself_nothing_is_said():
    class Centred(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = tiny_linear()

        def forward(self, x):
            return self.inner(x - x.mean(0))

    assert notes(toy_variant("dynamic", model=Centred().eval(), eval_data=with_outlier(3000))) == []
