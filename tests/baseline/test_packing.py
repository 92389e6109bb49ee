"""Packed: samples and scores as short texts, and back without loss."""

import base64

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pytest_quant.baseline.packing import (
    fingerprint_of,
    fingerprint_of_packed,
    pack_samples,
    pack_scores,
    unpack_samples,
    unpack_scores,
)
from pytest_quant.variant.evaluation import numbered


def samples_of(digests):
    """As an Evaluation has them: numbered, and sorted."""
    return np.sort(np.array(numbered(list(digests)), dtype="S24"))


digests = st.lists(st.binary(min_size=16, max_size=16), min_size=1, max_size=20)


@given(digests, st.randoms())
def test_samples_come_back_sorted_and_repeated_ones_as_often(listed, random):
    listed = listed + listed[:3]
    expected = sorted(digest[:8] for digest in listed)
    assert unpack_samples(pack_samples(samples_of(listed))) == expected
    random.shuffle(listed)
    assert unpack_samples(pack_samples(samples_of(listed))) == expected


@given(digests, digests, st.randoms())
def test_a_fingerprint_is_of_the_samples_and_not_of_their_order(listed, other, random):
    shuffled = random.sample(listed, len(listed))
    assert fingerprint_of(samples_of(shuffled)) == fingerprint_of(samples_of(listed))
    same = sorted(digest[:8] for digest in listed) == sorted(digest[:8] for digest in other)
    assert (fingerprint_of(samples_of(other)) == fingerprint_of(samples_of(listed))) is same
    twice = samples_of([*listed, listed[0]])
    assert fingerprint_of(twice) != fingerprint_of(samples_of(listed))
    assert fingerprint_of(twice) == fingerprint_of_packed(pack_samples(twice))


@given(arrays(np.float64, st.integers(0, 30), elements=st.sampled_from([0.0, 1.0])))
def test_hits_take_a_bit_each(scores):
    packed = pack_scores(scores)
    assert packed["form"] == "bits"
    assert len(base64.b64decode(packed["data"])) == -(-len(scores) // 8)
    assert unpack_scores(packed, len(scores)).tolist() == scores.tolist()


@given(arrays(np.float64, st.integers(1, 10), elements=st.floats(width=64)))
def test_real_scores_come_back_to_the_last_bit(scores):
    back = unpack_scores(pack_scores(scores), len(scores))
    assert back.dtype == np.float64
    assert np.array_equal(back, scores, equal_nan=True)


@pytest.mark.parametrize(
    ("score", "form"),
    [(0.5, "float32"), (float("nan"), "float32"), (0.1, "float64"), (1e300, "float64")],
)
def test_four_bytes_are_taken_where_they_lose_nothing(score, form):
    assert pack_scores(np.array([1.0, score]))["form"] == form


def test_ten_thousand_samples_and_hits_stay_small():
    rng = np.random.default_rng(0)
    samples = samples_of(rng.bytes(16) for _ in range(10_000))
    assert len(pack_samples(samples)) < 107_000
    assert len(pack_scores(rng.integers(0, 2, 10_000).astype(float))["data"]) < 1_700


@pytest.mark.parametrize(
    ("packed", "wrong"),
    [
        ({"form": "bits", "data": "AAAA"}, "9 scores as bits take 2 bytes, not 3"),
        ({"form": "float32", "data": "AAAA"}, "9 scores as float32 take 36 bytes, not 3"),
        ({"form": "pickle", "data": "AAAA"}, "form 'pickle'"),
        ({"form": "bits", "data": "A A="}, "base64"),
        ({"form": "bits", "data": "AAA"}, "padding"),
    ],
)
def test_damaged_scores_are_refused(packed, wrong):
    with pytest.raises(ValueError, match=wrong):
        unpack_scores(packed, 9)


def test_damaged_samples_are_refused():
    with pytest.raises(ValueError, match="cut off after 9 bytes"):
        unpack_samples(base64.b64encode(b"123456789").decode())
    with pytest.raises(ValueError, match="not in order"):
        unpack_samples(base64.b64encode(b"bbbbbbbbaaaaaaaa").decode())
