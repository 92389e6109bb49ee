"""HardSamples: candidates are judged on few samples, and wrongly turned down by none of the others."""

import pytest
from builders import Reads, loss, planted_variant, right

from pytest_quant.explain.remedies.drop_limit import drop_limit
from pytest_quant.explain.remedies.hard_samples import LARGE, MOST, hard_samples_of


def screen(fp32, own, max_drop=0.01, **given):
    variant = planted_variant(fp32, own, **given)
    return variant, hard_samples_of(variant, drop_limit(variant, max_drop, False, None))


def losing(variant, count):
    """A candidate that is right on all that FP32 is, but for the first samples."""
    reads = Reads(0, 0.5)

    def model(x):
        x = x.clone()
        x[x[:, 2] < count, 0] = 0
        return reads(x)

    return variant.sibling("candidate", model)


def test_the_screen_is_what_flips():
    _, found = screen(right(300, 400), [0] * 40 + right(260, 360))
    assert len(found.hard) == 40
    assert found.others is None
    assert found.hard.weight == 1


def test_a_candidate_that_loses_far_too_much_is_turned_down_and_another_is_not():
    variant, found = screen(right(300, 400), [0] * 40 + right(260, 360))
    assert found.trial(losing(variant, 0)) is None
    assert found.trial(losing(variant, 8)) is None  # two allowances and half a point: 10 of 400
    turned_down = found.trial(losing(variant, 11))
    assert not turned_down.passed
    assert (turned_down.value, turned_down.samples) == (11 / 400, 40)


def test_of_a_large_set_some_others_stand_for_all_of_them():
    count = 4 * LARGE
    variant, found = screen([1] * count, [0] * 1000 + [1] * (count - 1000), size=500)
    assert len(found.hard) == len(found.others) == MOST
    assert found.hard.weight * MOST == 1000
    assert found.others.weight * MOST == count - 1000
    assert found.trial(losing(variant, 0)).passed
    half = found.trial(losing(variant, 500))
    assert not half.passed
    assert half.value == pytest.approx(500 / count, rel=0.2)


def test_for_a_loss_it_is_the_rise_that_counts():
    fp32 = [0.0] * 200
    variant, found = screen(fp32, [5.0] * 20 + [0.0] * 180, 0.02, metric=loss(), targets=None)
    assert found.trial(variant).value == pytest.approx(0.5)
    assert found.trial(variant.fp32) is None


@pytest.mark.parametrize("own", [right(300, 400), [0] * 400])
def test_there_is_none_where_nothing_flips_or_nearly_all_do(own):
    assert screen(right(300, 400), own)[1] is None
