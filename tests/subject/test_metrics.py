"""Metric: scores by hand for each kind of function, and what is no metric."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pytest_quant import Metric, QuantStageError
from pytest_quant.subject.metrics import metrics_from
from pytest_quant.subject.scoring import as_number, score

# best class, second: 0 then 1; 2 then 0; 1 then 2; 0 then 2
LOGITS = torch.tensor([[3.0, 2.0, 1.0], [2.0, 1.0, 3.0], [1.0, 3.0, 2.0], [3.0, 1.0, 2.0]])
TARGETS = torch.tensor([0, 0, 0, 2])
TOP_1, TOP_2 = [1, 0, 0, 0], [1, 1, 0, 1]


class Counter:
    """As torchmetrics' objects are: update, compute, reset, and a direction."""

    higher_is_better = False

    def __init__(self):
        self.right = self.seen = 0
        self.updates = 0

    def update(self, outputs, targets):
        self.right += int((outputs.argmax(1) == targets).sum())
        self.seen += len(targets)
        self.updates += 1

    def compute(self):
        return torch.tensor(self.right / self.seen)

    def reset(self):
        self.right = self.seen = 0


def errors(outputs, targets):
    return (outputs.argmax(1) != targets).float()


@pytest.mark.parametrize(("k", "hits"), [(1, TOP_1), (2, TOP_2)])
def test_top_k_finds_the_target_among_the_k_best(k, hits):
    assert score(Metric.top_k(k), LOGITS, TARGETS, 4).tolist() == hits


def test_of_equal_outputs_the_first_is_named_as_by_argmax():
    """Int8 outputs are often equal; `topk` names any of them, and another one in another layout."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randint(0, 4, (200, 12), generator=generator).float()
    targets = torch.randint(0, 12, (200,), generator=generator)
    first = logits.argmax(1) == targets
    assert not torch.equal(logits.topk(1).indices[:, 0] == targets, first)
    assert score(Metric.top_k(1), logits, targets, 200).tolist() == first.double().tolist()
    # a class is named if less than k others are higher, or equal and before it
    own = logits.gather(1, targets[:, None])
    before = (logits > own) | ((logits == own) & (torch.arange(12) < targets[:, None]))
    assert (
        score(Metric.top_k(3), logits, targets, 200).tolist()
        == (before.sum(1) < 3).double().tolist()
    )


def test_top_k_is_named_by_its_k():
    assert (Metric.top_k().name, Metric.top_k(5).name) == ("top-1", "top-5")


@pytest.mark.parametrize("k", [3, 9])
def test_top_k_of_as_few_classes_is_always_right_and_refused(k):
    with pytest.raises(QuantStageError, match=r"of 3 classes is always right.*Metric.top_k\(2\)"):
        score(Metric.top_k(k), LOGITS, TARGETS, 4)


@pytest.mark.parametrize(
    ("outputs", "targets", "sentence"),
    [
        (
            LOGITS[:, :1],
            TARGETS.clamp(max=1),
            r"one output for each sample.*override quant_metric.*logit, .*o.flatten\(\) > 0\)",
        ),
        (
            LOGITS[:, :1].sigmoid(),
            TARGETS.clamp(max=1)[:, None],
            r"one output for each sample.*override quant_metric.*probability, .*o.flatten\(\) > 0.5\)",
        ),
        (LOGITS[:, 0].sigmoid(), TARGETS.clamp(max=1).float(), r"not shape.*o.flatten\(\) > 0.5\)"),
        (
            LOGITS[:, 0],
            TARGETS.float(),
            r"not shape \[4\]; override quant_metric for another kind of model$",
        ),
        (LOGITS[:, :1], TARGETS, "one output for each sample.*override quant_metric$"),
        (LOGITS[:, :1], TARGETS.float(), "one output for each sample"),
        (LOGITS, TARGETS.float(), r"class numbers as targets, not torch.float32.*targets.long\(\)"),
        (LOGITS, TARGETS + 2, r"the target 4.*ignore_index=4"),
        (LOGITS, TARGETS - 1, r"the target -1.*ignore_index=-1"),
    ],
)
def test_top_k_refuses_targets_that_every_answer_or_none_would_meet(outputs, targets, sentence):
    with pytest.raises(QuantStageError, match=sentence):
        score(Metric.top_k(), outputs, targets, 4)


@pytest.mark.parametrize("ignored", [-100, 255])
def test_ignored_targets_count_neither_as_hits_nor_as_misses(ignored):
    maps = torch.zeros(3, 3, 4)
    maps[:, 1] = 1.0  # class 1 everywhere
    targets = torch.tensor([[1, 1, 0, ignored], [ignored, 1, ignored, ignored], [ignored] * 4])
    scores = score(Metric.top_k(ignore_index=ignored), maps, targets, 3)
    assert scores.tolist() == pytest.approx([2 / 3, 1, np.nan], nan_ok=True)
    flat = score(Metric.top_k(ignore_index=ignored), LOGITS, torch.tensor([0, ignored, 0, 2]), 4)
    assert flat.tolist() == pytest.approx([1, np.nan, 0, 0], nan_ok=True)


def test_a_target_of_156_in_uint8_is_not_minus_100():
    outputs = torch.zeros(2, 200)
    outputs[:, 156] = 1.0
    targets = torch.tensor([156, 3], dtype=torch.uint8)
    assert score(Metric.top_k(), outputs, targets, 2).tolist() == [1, 0]


@pytest.mark.parametrize("k", [0, -1, 1.5, True])
def test_top_k_needs_a_whole_number_from_one(k):
    with pytest.raises(ValueError, match="k is"):
        Metric.top_k(k)


def test_top_k_averages_the_positions_of_a_sample():
    maps = torch.zeros(2, 3, 2, 2)
    maps[:, 1] = 1.0  # class 1 everywhere
    targets = torch.tensor([[[1, 1], [1, 0]], [[0, 1], [0, 0]]])
    assert score(Metric.top_k(1), maps, targets, 2).tolist() == [0.75, 0.25]


@pytest.mark.parametrize("outputs", [SimpleNamespace(logits=LOGITS), {"logits": LOGITS}, LOGITS])
def test_logits_are_found_in_objects_and_dicts(outputs):
    assert score(Metric.top_k(1), outputs, TARGETS, 4).tolist() == TOP_1


@pytest.mark.parametrize(
    ("outputs", "targets", "sentence"),
    [
        (torch.zeros(4), TARGETS, r"needs outputs of shape \[batch, classes\], not shape \[4\]"),
        ({"boxes": LOGITS}, TARGETS, r"needs outputs of shape \[batch, classes\], not dict"),
        (LOGITS, torch.zeros(4, 3), r"needs targets of shape \[4\] .* not shape \[4, 3\]"),
        (LOGITS, [0, 0, 0, 2], r"needs targets of shape \[4\] with class numbers, not list"),
        (
            torch.zeros(4, 5, 3),
            torch.zeros(4, 5).long(),
            r"classes seem to be on the last axis.*movedim",
        ),
    ],
)
def test_top_k_says_which_shapes_it_needs(outputs, targets, sentence):
    with pytest.raises(QuantStageError, match=rf"metric top-1 raised: .*{sentence}"):
        score(Metric.top_k(1), outputs, targets, 4)


@pytest.mark.parametrize(
    "fn",
    [
        errors,
        lambda outputs, targets: errors(outputs, targets).numpy(),
        lambda outputs, targets: errors(outputs, targets).tolist(),
        lambda outputs, targets: errors(outputs, targets).bool(),
        lambda outputs, targets: errors(outputs, targets).requires_grad_(),
    ],
)
def test_a_score_for_each_sample_stays_one(fn):
    scores = score(Metric(fn, "errors"), LOGITS, TARGETS, 4)
    assert scores.dtype == np.float64
    assert scores.tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize(
    "fn",
    [
        lambda outputs, targets: errors(outputs, targets).mean(),
        lambda outputs, targets: 0.75,
        lambda outputs, targets: np.float32(0.75),
        lambda outputs, targets: torch.tensor(0.75),
    ],
)
def test_a_single_number_is_the_mean_of_the_batch(fn):
    assert score(Metric(fn, "errors"), LOGITS, TARGETS, 4) == 0.75


def test_an_accumulator_is_tried_on_a_copy():
    counter = Counter()
    assert score(Metric(counter, "counter"), LOGITS, TARGETS, 4) is None
    assert counter.updates == 0


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (torch.zeros(3), r"returned shape \[3\] for a batch of 4; expected .* shape \[4\]"),
        (torch.zeros(4, 1), r"returned shape \[4, 1\] for a batch of 4"),
        (torch.tensor([0.0, float("nan"), 0.0, 0.0]), "returned NaN for a sample"),
        (float("nan"), "returned NaN"),
        (torch.tensor(float("nan")), "returned NaN"),
        (None, "returned None; expected a number"),
        ("0.75", "returned '0.75'; expected a number"),
        ([0.5, 0.5], r"returned \[0.5, 0.5\]; expected a number"),
        (torch.tensor([0.0, float("inf"), 0.0, 0.0]), "returned an infinity for a sample"),
        (float("-inf"), "returned an infinity"),
        ([{"hit": 1.0}] * 4, "returned a list of other things than numbers; expected a number"),
        (np.array(["a", "b", "c", "d"]), "returned a ndarray of other things than numbers"),
    ],
)
def test_what_is_no_score_is_an_error(given, sentence):
    with pytest.raises(QuantStageError, match=f"metric mine {sentence}") as caught:
        score(Metric(lambda outputs, targets: given, "mine"), LOGITS, TARGETS, 4)
    assert caught.value.stage == "evaluate"


def test_an_error_inside_a_metric_is_told_in_one_line():
    def broken(outputs, targets):
        raise KeyError("mask")

    with pytest.raises(QuantStageError, match="metric mine raised: KeyError: 'mask'"):
        score(Metric(broken, "mine"), LOGITS, TARGETS, 4)


def test_an_accumulator_that_computes_no_number_is_an_error():
    class Vector(Counter):
        def compute(self):
            return torch.zeros(3)

    with pytest.raises(QuantStageError, match=r"metric vector returned tensor.* expected a number"):
        score(Metric(Vector(), "vector"), LOGITS, TARGETS, 4)


def test_a_number_may_be_a_tensor_of_one_element():
    assert as_number(Metric.top_k(1), torch.tensor([0.5])) == 0.5


def test_without_a_metric_it_is_top_1():
    assert [metric.name for metric in metrics_from(None)] == ["top-1"]


def test_several_metrics_keep_their_order_and_take_their_names_from_the_dict():
    rate = Metric(errors, "own name", higher_is_better=False)
    first, second, third = metrics_from({"rate": rate, "count": Counter(), "plain": errors})
    assert (first.name, second.name, third.name) == ("rate", "count", "plain")
    assert (first.higher_is_better, second.higher_is_better) == (False, False)
    assert third.higher_is_better is None  # to be measured


def test_one_metric_is_named_by_its_function_or_class():
    assert metrics_from(errors)[0].name == "errors"
    assert metrics_from(Counter())[0].name == "Counter"


def test_a_metric_is_taken_as_it_is():
    metric = Metric(errors, "mine", higher_is_better=False, unit="raw")
    assert metrics_from(metric) == (metric,)


@pytest.mark.parametrize("given", ["accuracy", 0.5, ["top-1"], {"a": 3}])
def test_what_is_no_metric_is_refused_with_what_is(given):
    with pytest.raises(TypeError, match=r"quant_metric returned .*; expected a Metric"):
        metrics_from(given)


def test_an_empty_dict_of_metrics_is_refused():
    with pytest.raises(TypeError, match="quant_metric returned an empty dict"):
        metrics_from({})


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ({"fn": 3}, TypeError, "fn is 3; expected a function"),
        ({"name": ""}, TypeError, "name is ''; expected a string"),
        ({"name": 5}, TypeError, "name is 5; expected a string"),
        ({"unit": "percent"}, ValueError, "unit is 'percent'; allowed: fraction, raw"),
        (
            {"higher_is_better": "yes"},
            TypeError,
            "higher_is_better is 'yes'; expected True, False or None",
        ),
        (
            {"higher_is_better": True, "unit": "perplexity"},
            ValueError,
            "of which lower is better",
        ),
    ],
)
def test_a_metric_refuses_wrong_arguments(arguments, error, sentence):
    with pytest.raises(error, match=sentence):
        Metric(**{"fn": errors, "name": "mine", **arguments})


def test_fractions_are_shown_in_per_cent_and_points_and_raw_numbers_as_they_are():
    fraction, raw = Metric(errors, "f"), Metric(errors, "r", unit="raw")
    assert (fraction.shown(0.98519), fraction.shown_change(0.00370)) == ("98.52 %", "0.37 pt")
    assert (raw.shown(0.123456), raw.shown_change(12345.6)) == ("0.1235", "1.235e+04")


def test_perplexity_is_the_mean_negative_log_likelihood_of_a_samples_positions():
    even = torch.zeros(2, 3, 4)  # each of four tokens is as likely
    even[1, :, 2] = float("-inf")  # of three
    targets = torch.tensor([[0, 1, 2], [0, 1, -100]])  # the last position is padding
    scores = score(Metric.perplexity(), even, targets, 2)
    assert np.exp(scores).tolist() == pytest.approx([4, 3])


def test_a_sample_without_a_counted_token_has_no_perplexity():
    targets = torch.tensor([[0, 1], [-100, -100], [2, -100]])
    even = torch.zeros(3, 2, 4)
    scores = score(Metric.perplexity(), even, targets, 3)
    assert scores.tolist() == pytest.approx([np.log(4), np.nan, np.log(4)], nan_ok=True)
    shifted = score(
        Metric.perplexity(shift=1), even, targets, 3
    )  # the first token predicts the second
    assert shifted.tolist() == pytest.approx([np.log(4), np.nan, np.nan], nan_ok=True)


def test_a_shift_scores_each_position_against_the_next_target():
    logits = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0))
    targets = torch.arange(10).reshape(2, 5) % 7
    expected = torch.nn.functional.cross_entropy(
        logits[:, :-1].transpose(1, 2), targets[:, 1:], reduction="none"
    )
    scores = score(Metric.perplexity(shift=True), logits, targets, 2)
    assert scores.tolist() == pytest.approx(expected.mean(1).tolist())


@pytest.mark.parametrize("shift", [-1, 0.5, "1"])
def test_a_shift_is_a_whole_number(shift):
    with pytest.raises(ValueError, match=r"Metric\.perplexity: shift is"):
        Metric.perplexity(shift=shift)


def test_perplexity_is_shown_as_such_and_its_rise_as_a_share():
    metric = Metric.perplexity()
    assert (metric.name, metric.higher_is_better) == ("perplexity", False)
    assert metric.shown(np.log(20.5)) == "20.5"
    assert metric.shown_change(np.log(1.01)) == "1.00 %"
