"""Flips: the samples on which two models do not agree, the worst first, with what both say."""

import torch
from builders import ONE_THREAD, Gives, planted_variant, toy_variant

from pytest_quant import Metric, Recipe, Subject, open_store
from pytest_quant.report.rows import row_of


def metric_of(fp32, own, targets, metric=None, size=2, **parts):
    """The row's metric of a model that gives `own` where FP32 gives `fp32`."""
    x, width = torch.cat([fp32, own, torch.arange(len(fp32))[:, None]], 1), fp32.shape[1]
    recipe = Recipe("custom", build=lambda module: Gives(width, width), quantized=False)
    data = list(zip(x.split(size), targets.split(size), strict=True))
    subject = Subject(Gives(0, width), "planted", eval_data=data, metric=metric, **parts)
    variant = open_store(ONE_THREAD).variant(subject, recipe, "static")
    assert variant.evaluation
    return row_of(variant).metrics[0]


def test_a_flip_has_its_place_its_label_and_both_outputs():
    """Sample 1 is lost by 1.5, sample 3 by 4, sample 4 is won; sample 2 is wrong in both, otherwise."""
    fp32 = torch.tensor([[1.0, 0, 0], [2.0, 0, 0], [3.0, 0, 0], [0, 5.0, 0], [0, 6.0, 0]])
    own = torch.tensor([[1.0, 0, 0], [0.5, 2.0, 0], [0, 3.0, 0], [0, 1.0, 5.0], [0, 0, 7.0]])
    found = metric_of(fp32, own, torch.tensor([0, 0, 2, 1, 2]))
    assert (found.flips, [each.position for each in found.worst_flips]) == (3, [3, 1, 4])
    worst, _, won = found.worst_flips
    assert (worst.label, worst.fp32_class, worst.variant_class) == (1, 1, 2)
    assert (worst.fp32_output, worst.variant_output) == (5.0, 5.0)
    assert (worst.fp32_score, worst.score) == (1.0, 0.0)
    assert (won.fp32_score, won.score, won.fp32_output, won.variant_output) == (0.0, 1.0, 6.0, 7.0)


def test_of_one_output_those_are_first_that_moved_most():
    fp32 = torch.tensor([[1.0], [0.2], [3.0], [-1.0]])
    own = torch.tensor([[-1.0], [-0.1], [-5.0], [0.5]])
    metric = Metric(
        lambda o, y: (o[:, 0] > 0) == (y > 0.5), "hits", higher_is_better=True, unit="fraction"
    )
    found = metric_of(fp32, own, torch.tensor([1.0, 1.0, 1.0, 1.0]), metric)
    assert [each.position for each in found.worst_flips] == [2, 0, 1, 3]
    assert found.worst_flips[0].fp32_class is found.worst_flips[0].label is None
    assert (found.worst_flips[0].fp32_output, found.worst_flips[0].variant_output) == (3.0, -5.0)


def test_24_of_all_are_listed():
    variant = planted_variant([1] * 60, [1] * 10 + [0] * 50)
    assert variant.evaluation
    found = row_of(variant).metrics[0]
    assert (found.flips, len(found.worst_flips)) == (50, 24)
    assert {each.label for each in found.worst_flips} == {0}


def test_what_does_not_flip_has_none():
    variant = planted_variant([1] * 9, [1] * 9)
    assert variant.evaluation
    assert row_of(variant).metrics[0].worst_flips == ()
    assert row_of(variant.fp32).metrics[0].worst_flips is None
    perplexity = toy_variant("dynamic", metric=Metric(
        lambda o, y: torch.nn.functional.cross_entropy(o, y, reduction="none"), "loss",
        higher_is_better=False,
    ))  # fmt: skip
    assert perplexity.evaluation
    assert row_of(perplexity).metrics[0].worst_flips is None


def test_outputs_that_are_no_answers_leave_the_places():
    metric = Metric(
        lambda o, y: (o["x"][:, 0] > 0).double(), "hits", higher_is_better=True, unit="fraction"
    )
    fp32, own = torch.ones(4, 2), torch.tensor([[1.0, 0], [1.0, 0], [-1.0, 0], [1.0, 0]])
    found = metric_of(fp32, own, torch.zeros(4).long(), metric, forward=lambda m, x: {"x": m(x)})
    (flip,) = found.worst_flips
    assert (flip.position, flip.label, flip.fp32_score, flip.score) == (2, 0, 1.0, 0.0)
    assert flip.fp32_class is flip.fp32_output is flip.variant_output is None
