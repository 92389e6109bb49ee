"""Skill: FP32 is held against what names one class always."""

import numpy as np
import pytest

from pytest_quant import Metric
from pytest_quant.explain.skill import lacks_skill
from pytest_quant.variant.evaluation import IGNORED, Evaluation, majority_rate

HITS = Metric(lambda outputs, targets: (outputs.argmax(1) == targets).double(), "hits")


def evaluated(scores, labels, name="hits"):
    scores, labels = np.array(scores, dtype=float), np.array(labels)
    none = np.zeros(len(labels))
    return Evaluation(
        samples=none, order=none, inputs=frozenset(), which_input=none, outputs=none, irregular=none,
        scores={name: scores}, values={name: float(np.nanmean(scores))},
        majority_rate=majority_rate(labels), labels=labels,
    )  # fmt: skip


def of(right_of_0, of_0, right_of_1, of_1, **more):
    hits = [i < right_of_0 for i in range(of_0)] + [i < right_of_1 for i in range(of_1)]
    return evaluated(hits, [0] * of_0 + [1] * of_1, **more)


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ((60, 60, 0, 40), "no better (60.00 %) than always naming the commonest class (60.00 %)"),
        ((50, 60, 5, 40), "no better (55.00 %) than"),
        ((58, 60, 5, 40), "not clearly better (63.00 %) than always naming"),  # 5 won, 2 lost
        ((60, 60, 5, 40), None),  # 5 won, none lost: p = 0.03
        ((990, 990, 8, 10), None),  # of a rare class nearly all
        ((990, 990, 2, 10), "not clearly better"),
        ((57, 60, 38, 40), None),
    ],
)
def test_an_advantage_that_chance_explains_is_none(counts, said):
    found = lacks_skill(of(*counts), HITS)
    assert found is None if said is None else found.startswith(said)


def test_what_is_ignored_does_not_count():
    labels = [0] * 60 + [1] * 40 + [IGNORED] * 100
    scores = [1.0] * 60 + [0.0] * 40 + [np.nan] * 100
    assert lacks_skill(evaluated(scores, labels), HITS).startswith("no better (60.00 %)")


@pytest.mark.parametrize(
    ("metric", "scores"),
    [
        (HITS, [0.5] * 100),  # no hits and misses
        (Metric(HITS.fn, "hits", higher_is_better=False), [0.0] * 50 + [1.0] * 50),
        (Metric.top_k(5), [1.0] * 50 + [0.0] * 50),
        (Metric.recall(), [1.0] * 50 + [0.0] * 50),
    ],
    ids=["scores", "errors", "top-5", "recall"],
)
def test_nothing_is_said_of_what_does_not_count_hits(metric, scores):
    found = evaluated(scores, [0] * 90 + [1] * 10, metric.name)
    assert lacks_skill(found, metric) is None


@pytest.mark.parametrize(
    ("fn", "is_looked_at"),
    [
        (lambda o, y: o.argmax(1) == y, True),
        (lambda o, y: (o.argmax(1) == y).double().mean(), False),  # of which no scores are known
        (lambda o, y: (o.flatten() > 0) == (y > 0.5), True),
        (lambda o, y: (o[:, 0] > 0.5) == (y > 0.5), True),
        (lambda o, y: (o.argmax(1) == 0) & (y == 0), False),  # found defects
        (lambda o, y: o.softmax(1).max(1).values > 0.9, False),  # confident
        (lambda o, y: o["logits"].argmax(1) == y, False),  # of another form
    ],
)
def test_only_what_counts_right_answers_is_held_against_naming_one_class(fn, is_looked_at):
    found = lacks_skill(of(60, 60, 0, 40, name="own"), Metric(fn, "own"))
    assert (found is not None) is is_looked_at


def test_nothing_is_said_where_there_are_no_classes():
    whole = of(60, 60, 0, 40)
    assert lacks_skill(whole, Metric(lambda o, t: o, "another")) is None
    assert lacks_skill(evaluated([1.0, 0.0], [IGNORED, IGNORED]), HITS) is None
