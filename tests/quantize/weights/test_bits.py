"""Packed indices come back as they were, in as many bytes as they need."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pytest_quant.quantize.weights.bits import lookup, pack, unpack


@given(st.integers(1, 8).flatmap(lambda bits: st.tuples(
    st.just(bits), st.lists(st.integers(0, 2**bits - 1), min_size=1, max_size=50)
)))  # fmt: skip
def test_packing_loses_nothing(case):
    bits, given_indices = case
    packed = pack(torch.tensor(given_indices), bits)
    assert packed.dtype == torch.uint8
    assert len(packed) == bits * -(-len(given_indices) // 8)
    assert unpack(packed, bits)[: len(given_indices)].tolist() == given_indices


@pytest.mark.parametrize("bits", range(1, 9))
def test_a_lookup_is_the_value_of_each_index(bits):
    generator = torch.Generator().manual_seed(bits)
    indices = torch.randint(0, 2**bits, (1000,), generator=generator)
    values = torch.randn(2**bits, generator=generator)
    assert torch.equal(lookup(pack(indices, bits), bits, values), values[indices])


def test_two_indices_of_four_bits_share_a_byte_the_first_one_lowest():
    assert pack(torch.tensor([1, 2, 15, 0, 0, 0, 0, 9]), 4).tolist() == [0x21, 0x0F, 0, 0x90]


def test_three_bits_run_across_bytes():
    # 7 and 0 and the two lower bits of 5 (binary 101), whose upper bit begins the next byte
    assert pack(torch.tensor([7, 0, 5]), 3).tolist() == [0b01_000_111, 0b1, 0]
