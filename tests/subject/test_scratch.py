"""Scratch: copies that are as good as clones, in memory that comes again when nobody has it."""

import pytest
import torch

from pytest_quant.subject.scratch import SMALLEST, Scratch

WIDE = SMALLEST // 4  # float32 values


def where(copy):
    return copy.untyped_storage().data_ptr()


@pytest.mark.parametrize(
    "tensor",
    [
        torch.randn(2, WIDE),
        torch.randn(2, 3, 128, 128).to(memory_format=torch.channels_last),
        torch.randn(WIDE, 4).T,
        torch.randn(2, WIDE).bfloat16(),
        torch.randn(1, WIDE).expand(4, WIDE),
        torch.randint(9, (2, WIDE)),
        torch.randn(2, WIDE) > 0,
        torch.randn(2, WIDE, dtype=torch.complex64).conj(),
        torch.randn(3),
        torch.zeros(0, 4),
        torch.eye(9).to_sparse(),
    ],
    ids=["plain", "channels_last", "transposed", "bfloat16", "expanded", "int64", "bool",
         "conjugate", "small", "empty", "sparse"],
)  # fmt: skip
def test_a_copy_is_what_a_clone_is(tensor):
    scratch = Scratch()
    for _ in range(2):
        copy, clone = scratch.copied(tensor), tensor.clone()
        assert (copy.dtype, copy.layout) == (clone.dtype, clone.layout)
        if clone.layout is torch.strided:
            assert copy.stride() == clone.stride()
            assert where(copy) != where(tensor) or not tensor.numel()
        assert torch.equal(copy.to_dense(), clone.to_dense())
        del copy


def test_what_is_written_into_a_copy_reaches_nobody():
    given = torch.ones(2, WIDE)
    Scratch().copied({"x": given})["x"].zero_()
    assert given.all()


def test_memory_comes_again_and_is_not_more_than_the_largest_batch():
    scratch, places = Scratch(), set()
    for rows in (4, 4, 2, 4):
        places.add(where(scratch.copied(torch.ones(rows, WIDE))))
    assert len(places) == 1
    assert where(scratch.copied(torch.ones(8, WIDE))) not in places
    assert len(scratch._blocks) == 1


def test_two_inputs_of_one_batch_have_memory_of_their_own():
    scratch = Scratch()
    for _ in range(3):
        a, b = scratch.copied([torch.ones(2, WIDE), torch.zeros(2, WIDE)])
        assert a.all()
        assert not b.any()
        del a, b


@pytest.mark.parametrize("held", [lambda x: x, lambda x: x[:, 1:], lambda x: x.numpy()])
def test_memory_that_a_model_keeps_is_left_to_it(held):
    scratch = Scratch()
    kept = held(scratch.copied(torch.ones(2, WIDE)))
    later = scratch.copied(torch.zeros(2, WIDE))
    assert not later.any()
    assert (torch.as_tensor(kept) == 1).all()
