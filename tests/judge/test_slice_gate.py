"""Slices: one that breaks FAILs by name, and what chance explains does not."""

import enum

import numpy as np
import pytest
import torch
from builders import ONE_THREAD, Reads, loss, planted_variant, reward, toy_variant
from scipy import stats
from torch.utils.data import DataLoader, TensorDataset

from pytest_quant import (
    Metric,
    Outcome,
    QuantStageError,
    Recipe,
    Subject,
    assert_gates,
    assert_max_slice_drop,
    open_store,
)
from pytest_quant.judge.score_bound import proves_above
from pytest_quant.judge.slice_drop import judge_slices
from pytest_quant.judge.uneven import uneven
from pytest_quant.report.document import Report
from pytest_quant.report.html import html_of
from pytest_quant.report.markdown import markdown_of
from pytest_quant.report.rows import row_of
from pytest_quant.report.terminal import summary_lines

PASS, FAIL, INCONCLUSIVE = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE


def classes(*wrong, samples=100, won=()):
    """Classes of so many samples, all right in FP32; of each `wrong` (and of `won` the other way)."""
    fp32, own, labels = [], [], []
    for label, lost in enumerate(wrong):
        gained = won[label] if won else 0
        rest = samples - lost - gained
        fp32 += [1] * lost + [0] * gained + [1] * rest
        own += [0] * lost + [1] * gained + [1] * rest
        labels += [label] * samples
    return fp32, own, torch.tensor(labels)


def planted(*wrong, **more):
    fp32, own, labels = classes(*wrong, **{k: more.pop(k) for k in ("samples", "won") if k in more})
    return planted_variant(fp32, own, targets=more.pop("targets", labels), **more)


def evaluated(variant):
    """The row of a variant whose accuracy somebody asked for."""
    assert variant.evaluation
    return row_of(variant)


def test_a_class_that_broke_is_named_first_with_its_counts_and_its_drop():
    verdict = judge_slices(planted(0, 1, 30, 2), 0.05)
    assert verdict.outcome is FAIL
    assert verdict.sentence.startswith(
        "slice drop FAIL: static drops 30.00 pt on class 2 (100 -> 70 of 100 right), allowed 5.00 pt; "
        "30 of its samples got worse and 0 better, by chance with p = 4e-09 (sign test, Holm over 4"
    )
    assert verdict.observed == pytest.approx(0.3)
    assert verdict.evidence["slice"] == "class 2"
    assert (verdict.evidence["lost"], verdict.evidence["won"]) == (30, 0)


def test_a_limit_is_exact_and_a_drop_at_the_limit_holds():
    assert judge_slices(planted(7, 0), 0.07).outcome is PASS
    assert judge_slices(planted(29, 0), 0.29).outcome is PASS
    assert judge_slices(planted(29, 0), 0.2899).outcome is FAIL
    assert judge_slices(planted(14, 0), 0).outcome is FAIL


def test_what_is_over_the_limit_by_chance_is_told_and_is_no_fail():
    """Eight lost and two won: p = 56 / 1024, times the slices that are left."""
    verdict = judge_slices(planted(8, 0, 0, won=(2, 0, 0)), 0.05)
    assert verdict.outcome is PASS
    assert "static drops 6.00 pt on class 0 (98 -> 92 of 100 right)" in verdict.sentence
    assert (
        "100 right), allowed 5.00 pt, the most of 3 slices; that is over the limit, but no more than ch"
        in (verdict.sentence)
    )
    assert verdict.evidence["p"] == pytest.approx(3 * 56 / 1024)
    assert verdict.evidence["by_chance"] == ["class 0"]
    assert judge_slices(planted(8, 0, 0), 0.05, alpha=0.02).outcome is FAIL  # 3 / 256 of chance


def test_more_slices_need_more_evidence():
    """Seven of seven are lost: p = 1 / 128 alone, too much for two."""
    assert judge_slices(planted(7), 0.05).outcome is FAIL
    assert judge_slices(planted(7, 0), 0.05).outcome is PASS


def test_a_significant_loss_within_the_limit_holds():
    verdict = judge_slices(planted(40, 0, samples=1000), 0.05)
    assert verdict.outcome is PASS
    assert "drops 4.00 pt on class 0 (1000 -> 960 of 1,000 right)" in verdict.sentence


def test_small_slices_are_told_and_not_failed():
    labels = torch.tensor([0] * 100 + [1] * 29 + [2] * 5)
    fp32, own = [1] * 134, [1] * 100 + [0] * 34
    verdict = judge_slices(planted_variant(fp32, own, targets=labels), 0.05)
    assert verdict.outcome is PASS
    assert "; not judged, as smaller than 30 samples: class 1 (29), class 2 (5)" in verdict.sentence
    assert verdict.evidence["too_small"] == ["class 1", "class 2"]
    assert (
        judge_slices(planted_variant(fp32, own, targets=labels), 0.05, min_samples=5).outcome
        is FAIL
    )


def test_where_all_are_small_nothing_is_decided():
    verdict = judge_slices(planted(29, 0, samples=29), 0.05)
    assert verdict.outcome is INCONCLUSIVE
    assert "no slice of 2 has 30 samples (the largest, class 0, has 29)" in verdict.sentence
    assert verdict.observed is None


@pytest.mark.parametrize(
    ("wrong", "samples", "outcome", "said"),
    [
        (
            (30, 0),
            100,
            FAIL,
            "refuted at alpha 0.01 (score bound (Tango 1998), Holm over 2 slices)",
        ),
        ((9, 0), 100, INCONCLUSIVE, "2 of 2 slices are not proven to hold it at alpha 0.01"),
        ((0, 0), 1000, PASS, "each of 2 slices holds it at alpha 0.01"),
        ((0, 0), 50, INCONCLUSIVE, "2 of 2 slices are not proven"),
    ],
)
def test_in_the_population_nothing_is_said_without_proof(wrong, samples, outcome, said):
    verdict = judge_slices(planted(*wrong, samples=samples), 0.05, scope="population")
    assert verdict.outcome is outcome
    assert said in verdict.sentence


@pytest.mark.parametrize("n", [30, 100, 300])
@pytest.mark.parametrize("alpha", [1e-3, 1e-4])
def test_the_small_alphas_of_holm_are_kept(n, alpha):
    """P(FAIL) where the drop is the limit, by enumeration of all counts."""
    won, margin = 0.02, 0.05
    error = 0.0
    for w in range(n // 4):
        fails = [lost for lost in range(n - w + 1) if proves_above(lost, w, n, margin, alpha)]
        if fails:
            above = stats.binom.sf(fails[0] - 1, n - w, (won + margin) / (1 - won))
            error += stats.binom.pmf(w, n, won) * above
    assert error <= alpha


def test_copies_of_a_sample_prove_nothing_more_in_the_population():
    """Of a hundred copies of each of three inputs, one loses."""
    x = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 1.0], [1.0, 1.0, 2.0]]).repeat(100, 1)
    recipe = Recipe("custom", build=lambda module: Reads(1, 0.25), quantized=False)
    data = [(x, torch.zeros(300, dtype=torch.long))]
    subject = Subject(Reads(0, 0.5), "copies", eval_data=data, metric=reward())
    copies = open_store(ONE_THREAD).variant(subject, recipe, "static")
    assert judge_slices(copies, 0.05).outcome is FAIL
    assert judge_slices(copies, 0.05, scope="population").outcome is INCONCLUSIVE


def test_scores_between_0_and_1_are_judged_by_their_mean_and_told_by_it():
    labels = torch.arange(400) % 2
    fp32 = np.full(400, 0.9)
    own = np.where(labels == 1, 0.6, 0.9)
    verdict = judge_slices(planted_variant(fp32.tolist(), own.tolist(), targets=labels), 0.05)
    assert verdict.outcome is FAIL
    assert "drops 30.00 pt on class 1 (90.00 % -> 60.00 %, 200 samples)" in verdict.sentence
    held = judge_slices(planted_variant(fp32.tolist(), fp32.tolist(), targets=labels), 0.05)
    assert held.outcome is PASS
    both = planted_variant(fp32.tolist(), own.tolist(), targets=labels)
    assert judge_slices(both, 0.05, scope="population").outcome is FAIL


def test_a_loss_rises():
    labels = torch.arange(200) % 2
    fp32, own = [1.0] * 200, [2.5 if label else 1.0 for label in labels]
    variant = planted_variant(fp32, own, targets=labels, metric=loss())
    verdict = judge_slices(variant, 0.5)
    assert verdict.outcome is FAIL
    assert "static rises 1.5 on class 1 (1 -> 2.5, 100 samples), allowed 0.5" in verdict.sentence
    assert judge_slices(variant, 1.5).outcome is PASS  # in its own unit a limit may be above 1
    with pytest.raises(QuantStageError, match="needs scores in"):
        judge_slices(variant, 0.5, scope="population")


def test_names_are_those_that_quant_slices_gives():
    variant = planted(0, 30, slices=lambda x, y: ["night" if each else "day" for each in y])
    sentence = judge_slices(variant, 0.05).sentence
    assert "drops 30.00 pt on slice night (100 -> 70 of 100 right)" in sentence
    half = planted(0, 30, slices=lambda x, y: [None if each else "day" for each in y])
    verdict = judge_slices(half, 0.05)
    assert (verdict.outcome, verdict.evidence["slices"]) == (PASS, 1)


def test_a_loader_that_shuffles_pairs_by_sample():
    fp32, own, y = classes(0, 30)
    x = torch.tensor([fp32, own, range(200)], dtype=torch.float32).T
    data = DataLoader(TensorDataset(x, y), batch_size=7, shuffle=True)
    recipe = Recipe("custom", build=lambda module: Reads(1, 0.25), quantized=False)
    subject = Subject(Reads(0, 0.5), "shuffled", eval_data=data, metric=reward(),
                      slices=lambda x, y: [f"c{label}" for label in y.tolist()])  # fmt: skip
    variant = open_store(ONE_THREAD).variant(subject, recipe, "static")
    assert "on slice c1 (100 -> 70 of 100 right)" in judge_slices(variant, 0.05).sentence


def test_names_that_steer_or_are_endless_are_made_fit_to_be_shown():
    names = ["\x1b[31mred", "<script>alert(1)</script>", "a|b\n# head", "=cmd()", "x" * 500]
    slices = lambda x, y: [names[int(i) % 5] for i in x[:, 2]]  # noqa: E731
    variant = planted(30, 30, slices=slices)
    verdict = judge_slices(variant, 0.05)
    assert "\x1b" not in verdict.sentence
    assert len(verdict.sentence) < 1000
    rows = [evaluated(variant.fp32), evaluated(variant)]
    report = Report(rows=rows, verdicts=[{**verdict.to_dict(), "test": "t.py::t"}])
    page, text = html_of(report, plots=lambda report: []), markdown_of(report)
    lines = "\n".join(summary_lines(report, "simple"))
    assert "<script>alert" not in page + text
    assert "\x1b" not in page + text + lines
    assert "x" * 100 not in page + text + lines


def test_positions_of_a_sentence_are_sliced_by_name_and_limited_by_their_perplexity():
    """Of a hundred texts each half has another first token; the head of one is damaged."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Embedding(20, 16), torch.nn.Linear(16, 20)).eval()
    x = torch.randint(2, 20, (100, 6))
    x[:, 0] = torch.arange(100) % 2
    y = model(x).argmax(2)

    def damaged(model):
        model[0].weight.data[1] += 4
        return model

    variant = toy_variant(
        Recipe("custom", build=damaged, quantized=False), name="static", model=model,
        eval_data=[(x, y)], metric=Metric.perplexity(shift=0),
        slices=lambda x, y: [Start(int(each)) for each in x[:, 0]],
    )  # fmt: skip
    verdict = judge_slices(variant, 0.05)
    assert verdict.outcome is FAIL
    assert "static rises " in verdict.sentence
    assert " % on slice Start.OTHER (" in verdict.sentence
    assert verdict.sentence.partition(", allowed ")[2].startswith(
        "5 % of FP32's; 50 of its samples"
    )
    with pytest.raises(QuantStageError, match="no class numbers, so there are no slices"):
        judge_slices(
            toy_variant(model=model, eval_data=[(x, y)], metric=Metric.perplexity(shift=0)), 0.1
        )


class Start(enum.Enum):
    """The first token of a text."""

    ONE = 0
    OTHER = 1


def test_a_sample_without_a_target_is_in_no_class():
    variant = toy_variant(eval_data=[(torch.randn(64, 8), torch.tensor([-100, 1] * 32))])
    assert judge_slices(variant, 0.9, min_samples=1).evidence["slices"] == 1


@pytest.mark.parametrize(
    ("metric", "targets", "slices", "said"),
    [
        (reward(whole=True), None, None, "slices need a score for each sample.*assert_max_acc"),
        (reward(), torch.rand(200), None, "no class numbers, so there are no slices.*quant_slices"),
        (reward(), None, lambda x, y: [None] * len(y), "put none of the 200 samples .* into a slice"),
    ],
)  # fmt: skip
def test_what_has_no_slices_is_refused_by_a_sentence(metric, targets, slices, said):
    more = {} if targets is None else {"targets": targets}
    variant = planted(0, 0, metric=metric, slices=slices, **more)
    with pytest.raises(QuantStageError, match=said):
        assert_max_slice_drop(variant, 0.05)


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"max_drop": 1}, ValueError, "max_slice_drop is 1.*a metric in fractions"),
        ({"max_drop": -0.1}, ValueError, "max_slice_drop is -0.1; expected a fraction from 0 to below 1"),
        ({"max_drop": float("nan")}, ValueError, "max_slice_drop is nan"),
        ({"max_drop": "5%"}, TypeError, "max_slice_drop is '5%'"),
        ({}, TypeError, "max_slice_drop is given neither"),
        ({"max_drop": 0.1, "min_samples": 0}, ValueError, "min_samples is 0; expected a whole number"),
        ({"max_drop": 0.1, "min_samples": -3}, ValueError, "min_samples is -3"),
        ({"max_drop": 0.1, "min_samples": 2.5}, TypeError, "min_samples is 2.5"),
        ({"max_drop": 0.1, "min_samples": True}, TypeError, "min_samples is True"),
        ({"max_drop": 0.1, "alpha": 0.5}, ValueError, "alpha is 0.5"),
        ({"max_drop": 0.1, "scope": "world"}, ValueError, "scope is 'world'; allowed: dataset, population"),
        ({"max_drop": 0.1, "metric": "f1"}, ValueError, "metric='f1' is not among"),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_refused(arguments, error, said):
    with pytest.raises(error, match=said):
        assert_max_slice_drop(planted(0, 0), **arguments)


def test_it_is_a_gate_among_the_others():
    variant = planted(0, 30)
    with pytest.raises(AssertionError, match=r"slice drop FAIL: static drops 30\.00 pt on class 1"):
        assert_gates(variant, max_slice_drop=0.05, max_accuracy_drop=0.5)
    assert [v.gate for v in assert_gates(variant, max_slice_drop=0.5)] == ["max_slice_drop"]


def test_a_variant_that_was_not_quantized_or_is_broken_passes_no_slice():
    identity = toy_variant(Recipe("custom", build=lambda model: model))
    assert judge_slices(identity, 0.5, min_samples=1).evidence == {"reason": "refused"}
    assert judge_slices(identity.fp32, 0, min_samples=1).outcome is PASS


def test_a_note_tells_of_a_slice_that_loses_far_more_than_the_rest():
    note = uneven(planted(0, 1, 40, 0))
    assert note.startswith(
        "loses far more on some slices than chance explains: class 2 by 40.00 pt"
    )
    assert "where all samples drop 10.25 pt" in note
    assert note in evaluated(planted(0, 1, 40, 0)).notes


@pytest.mark.parametrize(
    ("wrong", "more"),
    [
        ((20, 20, 20, 20), {}),  # all alike
        ((40,), {}),  # one slice is the whole
        ((6, 0, 0, 0), {}),  # 1 / 64 is no wonder among four
        ((30, 0, 0), {"won": (30, 0, 0)}),  # as many for the better
        ((20, 0), {"samples": 20}),  # too small
    ],
)
def test_there_is_no_note_on_what_is_no_news(wrong, more):
    assert uneven(planted(*wrong, **more)) is None


def test_a_row_has_the_worst_slices_with_their_counts():
    (metric,) = evaluated(planted(1, 3, 2)).metrics
    assert [each.name for each in metric.slices] == ["class 1", "class 2", "class 0"]
    worst = metric.slices[0]
    assert (worst.samples, worst.lost, worst.won) == (100, 3, 0)
    assert (worst.fp32, worst.value) == pytest.approx((1.0, 0.97))
    assert worst.chance == pytest.approx(3 / 8)
    assert (metric.slice_count, metric.sliced_by) == (3, "class")
    many = evaluated(planted(*range(30), samples=40)).metrics[0]
    assert (len(many.slices), many.slice_count) == (24, 30)
    assert evaluated(planted(1, 2).fp32).metrics[0].slices is None


def test_metrics_of_several_are_chosen_by_name():
    first, second = reward("one"), Metric(lambda o, y: o[:, 0] * 1.0, "two", higher_is_better=True,
                                          unit="fraction")  # fmt: skip
    variant = planted(0, 30, metric={"one": first, "two": second})
    assert judge_slices(variant, 0.05, metric="two").metric == "two"
