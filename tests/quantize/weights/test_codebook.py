"""A codebook: exact where the weight has few values, and each tensor's own."""

import numpy as np
import pytest
import torch

from pytest_quant.quantize.weights.codebook import Codebook


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("shape", [(9, 7), (4, 3, 3, 3), (16, 32)])
def test_a_weight_with_no_more_values_than_centroids_is_kept_bit_by_bit(bits, shape):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(2**bits, generator=generator)
    weight = values[torch.randint(0, 2**bits, shape, generator=generator)]
    assert torch.equal(Codebook(weight, bits)(), weight)


def test_every_value_is_the_nearest_centroid():
    weight = torch.randn(20, 30, generator=torch.Generator().manual_seed(0))
    codebook = Codebook(weight, 3)
    away = (weight[..., None] - codebook.centroids).abs()
    assert torch.equal(codebook(), codebook.centroids[away.argmin(-1)])
    assert len(np.unique(codebook())) == 8


@pytest.mark.parametrize("width", [24, 25])
@pytest.mark.parametrize("bits", [3, 4])
def test_rows_are_the_rows_of_the_weight_wherever_they_begin(width, bits):
    codebook = Codebook(torch.randn(10, width), bits)
    index = torch.tensor([[3, 0, 9], [9, 9, 1]])
    assert torch.equal(codebook.rows(index), codebook()[index])


def test_its_tensors_are_indices_and_centroids_and_nothing_else():
    state = Codebook(torch.randn(10, 12), 4).state_dict()
    assert {key: (value.dtype, value.nbytes) for key, value in state.items()} == {
        "indices": (torch.uint8, 60),
        "centroids": (torch.float32, 64),
    }


def test_it_is_the_same_each_time():
    weight = torch.randn(50, 60)
    one, other = Codebook(weight, 4).state_dict(), Codebook(weight.clone(), 4).state_dict()
    assert all(torch.equal(one[key], other[key]) for key in one)
