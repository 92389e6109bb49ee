"""Positives: recall and precision as scikit-learn counts them, by hand, and what is refused."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from builders import ONE_THREAD, Gives, toy_variant

from pytest_quant import (
    Metric,
    Outcome,
    QuantStageError,
    Recipe,
    Subject,
    assert_max_accuracy_drop,
    assert_max_flips,
    assert_max_slice_drop,
    open_store,
)
from pytest_quant.judge.accuracy_drop import exact_values

PASS, FAIL, INCONCLUSIVE = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE
OUTPUTS = torch.tensor([[2.0, 1.0], [0.0, 1.0], [0.0, 3.0], [5.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
TARGETS = torch.tensor([1, 1, 1, 0, 0, -100])  # found: two of three; three are named


def planted(fp32, own, targets, metric, **parts):
    """A variant that gives `own` outputs where FP32 gives `fp32`, both [n, width]."""
    fp32, own = torch.as_tensor(fp32).float(), torch.as_tensor(own).float()
    place = torch.arange(len(fp32))[:, None]
    x, width = torch.cat([fp32, own, place], 1), fp32.shape[1]
    data = list(zip(x.split(50), torch.as_tensor(targets).split(50), strict=True))
    recipe = Recipe("custom", build=lambda module: Gives(width, width), quantized=False)
    subject = Subject(Gives(0, width), "planted", eval_data=data, metric=metric, **parts)
    return open_store(ONE_THREAD).variant(subject, recipe, "static")


def gathered(metric, *batches):
    accumulator = metric.fn
    accumulator.reset()
    for batch in batches:
        accumulator.update(*batch)
    return accumulator.compute()


def test_recall_scores_the_positive_samples_alone():
    scores = Metric.recall().fn(OUTPUTS, TARGETS)
    assert scores.dtype == torch.float64
    assert np.array_equal(scores, [0, 1, 1, np.nan, np.nan, np.nan], equal_nan=True)
    assert np.nanmean(Metric.recall(0).fn(OUTPUTS, TARGETS)) == 0.5


def test_precision_gathers_counts():
    halves = [(OUTPUTS[:2], TARGETS[:2]), (OUTPUTS[2:], TARGETS[2:])]
    assert gathered(Metric.precision(), *halves) == 2 / 3
    assert gathered(Metric.precision(0), *halves) == 1 / 2
    assert gathered(Metric.precision(), (OUTPUTS[:1], TARGETS[:1])) == 0.0


@pytest.mark.parametrize("seed", range(4))
def test_both_are_scikit_learns(seed):
    learn = pytest.importorskip("sklearn.metrics")
    g = torch.Generator().manual_seed(seed)
    outputs, targets = torch.randn(300, 4, generator=g), torch.randint(0, 4, (300,), generator=g)
    named = outputs.argmax(1)
    for label in range(4):
        kind = {"labels": [label], "average": "macro"}
        scores = Metric.recall(label).fn(outputs, targets)
        assert np.nanmean(scores) == pytest.approx(learn.recall_score(targets, named, **kind))
        expected = learn.precision_score(targets, named, **kind)
        assert gathered(Metric.precision(label), (outputs, targets)) == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(5,), (5, 1)])
@pytest.mark.parametrize("kind", [torch.long, torch.float32, torch.bool, torch.uint8])
def test_a_threshold_is_reached_by_what_equals_it(shape, kind):
    outputs = torch.tensor([0.5, 0.49, 0.9, 0.5, 0.1]).reshape(shape)
    targets = torch.tensor([1, 1, 1, 0, 0]).to(kind)
    scores = Metric.recall_at(0.5).fn(outputs, targets)
    assert np.array_equal(scores, [1, 0, 1, np.nan, np.nan], equal_nan=True)
    assert gathered(Metric.precision_at(0.5), (outputs, targets)) == 2 / 3


def test_names_say_which():
    made = (Metric.recall(), Metric.recall(0), Metric.recall_at(0.25), Metric.precision(3),
            Metric.precision_at(-1))  # fmt: skip
    assert [metric.name for metric in made] == [
        "recall", "recall of class 0", "recall at 0.25", "precision of class 3", "precision at -1",
    ]  # fmt: skip
    assert all(metric.higher_is_better and metric.unit == "fraction" for metric in made)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Metric.recall(-1), "Metric.recall: positive is -1; expected a class number"),
        (lambda: Metric.recall(True), "Metric.recall: positive is True"),
        (lambda: Metric.precision(1.0), "Metric.precision: positive is 1.0"),
        (
            lambda: Metric.recall_at(math.nan),
            "Metric.recall_at: threshold is nan; expected a number",
        ),
        (lambda: Metric.recall_at(None), "Metric.recall_at: threshold is None"),
        (lambda: Metric.precision_at("0.5"), "Metric.precision_at: threshold is '0.5'"),
    ],
)
def test_what_is_no_class_and_no_threshold_is_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()


@pytest.mark.parametrize(
    ("metric", "outputs", "targets", "said"),
    [
        (Metric.recall(), torch.rand(4, 1), torch.ones(4).long(), r"Metric.recall_at\(0.5\)"),
        (Metric.recall(), torch.rand(4), torch.ones(4).long(), r"\[batch, classes\] are needed"),
        (Metric.recall(2), torch.rand(4, 2), torch.ones(4).long(), "positive is 2, and outputs have 2 cl"),
        (Metric.recall(), torch.rand(4, 2, 3), torch.ones(4, 3).long(), "shape"),
        (Metric.recall(), torch.rand(4, 2), torch.ones(4), "class numbers are needed .*torch.float32"),
        (Metric.recall_at(0.5), torch.rand(4, 2), torch.ones(4), r"Metric.recall\(positive=1\)"),
        (Metric.recall_at(0.5), torch.rand(4), torch.tensor([0, 1, 2, 1]), "0 and 1 are needed .*2 was"),
        (Metric.recall_at(0.5), torch.rand(4), torch.rand(4, 2), "one class number a sample"),
    ],
)  # fmt: skip
def test_outputs_and_targets_that_do_not_fit_are_refused(metric, outputs, targets, said):
    with pytest.raises((TypeError, ValueError), match=said):
        metric.fn(outputs, targets)


def two_columns(named):
    """Outputs of two classes that name these samples positive."""
    named = torch.as_tensor(named).float()
    return torch.stack([1 - named, named], 1)


def test_misses_may_rise_by_half_a_point():
    """Of 1,000 positive samples among 2,000 one more in 200 is missed."""
    targets = torch.arange(2000) % 2
    before, after = targets.clone(), targets.clone()
    after[1:11:2] = 0  # five positive ones are missed now
    before[0] = after[2] = after[4] = 1  # false alarms say nothing
    metric = Metric.recall()
    variant = planted(two_columns(before), two_columns(after), targets, metric)
    verdict = assert_max_accuracy_drop(variant, 0.005)
    assert verdict.sentence.startswith(
        "recall PASS: static drops 0.50 pt (100.00 % -> 99.50 %, 1000 positive of 2000 s"
    )
    with pytest.raises(AssertionError, match="recall FAIL"):
        assert_max_accuracy_drop(variant, 0.0049)
    assert assert_max_flips(variant, 0.005).evidence == {"samples": 1000, "flips": 5}
    assert "recall is of the 1,000 positive samples of 2,000" in variant.fp32.notes
    assert assert_max_accuracy_drop(variant, 0.02, scope="population").outcome is PASS
    assert assert_max_slice_drop(variant, 0.01).evidence["slices"] == 1


def test_precision_is_exact_and_of_the_whole_set():
    """90 of 100 that are named are positive, then 83 of 100: a drop of exactly 7 points."""
    targets = torch.tensor([1] * 90 + [0] * 10)
    own = torch.tensor([1] * 83 + [0] * 17)
    named = torch.ones(100)
    variant = planted(two_columns(named), two_columns(named), targets, Metric.precision())
    assert exact_values(variant, variant.admitted.metrics[0]) == (Fraction(9, 10), Fraction(9, 10))
    fewer = planted(two_columns(targets), two_columns(named), targets, Metric.precision())
    assert assert_max_accuracy_drop(fewer, 0.1).observed == 0.1  # 1 - 0.9, in floats a little less
    with pytest.raises(AssertionError, match=r"precision FAIL: static drops 10\.00 pt"):
        assert_max_accuracy_drop(fewer, 0.0999)
    none = planted(two_columns(targets), two_columns(own * 0), targets, Metric.precision())
    with pytest.raises(AssertionError, match=r"100\.00 % -> 0\.00 %"):
        assert_max_accuracy_drop(none, 0.5)
    for gate in (assert_max_flips, assert_max_slice_drop):
        with pytest.raises(
            QuantStageError, match="score for each sample, and metric precision gives"
        ):
            gate(fewer, 0.5)


@pytest.mark.parametrize(
    ("metric", "targets", "said"),
    [
        (
            Metric.recall(),
            [0] * 100,
            "recall says nothing here: no sample .* is positive, target 1",
        ),
        (Metric.recall(3), [1] * 100, "recall of class 3 says nothing here"),
        (
            Metric.precision(),
            [0] * 100,
            "precision says nothing here: FP32 names no sample positive",
        ),
    ],
)
def test_no_positive_samples_are_an_error(metric, targets, said):
    outputs = torch.tensor([[0.0, 1.0, 0.5, 0.1]]).repeat(100, 1)
    variant = planted(outputs, outputs, torch.tensor(targets), metric)
    with pytest.raises(QuantStageError, match=said):
        assert_max_accuracy_drop(variant, 0.5)


def test_positives_that_come_late_are_found():
    """The first batches have none."""
    targets = torch.tensor([0] * 150 + [1] * 50)
    variant = planted(two_columns(targets), two_columns(targets), targets, Metric.recall())
    assert assert_max_accuracy_drop(variant, 0).outcome is PASS


def test_a_model_of_one_output_is_judged_by_a_threshold():
    targets = torch.tensor([1.0, 0.0] * 50)
    outputs = targets[:, None] * 2 - 1
    own = outputs.clone()
    own[0] = -0.1
    metrics = {"recall": Metric.recall_at(0), "precision": Metric.precision_at(0)}
    variant = planted(outputs, own, targets, metrics)
    assert assert_max_accuracy_drop(variant, 0.02).observed == pytest.approx(0.02)
    assert assert_max_accuracy_drop(variant, 0, metric="precision").observed == 0


def test_a_real_variant_is_judged_by_both():
    metric = {"recall": Metric.recall(), "precision": Metric.precision()}
    variant = toy_variant("static", metric=metric)
    for name in metric:
        assert assert_max_accuracy_drop(variant, 0.5, metric=name).outcome is PASS
