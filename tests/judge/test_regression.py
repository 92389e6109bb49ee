"""assert_no_regression: a variant against what was saved of it, quantity by quantity."""

import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from builders import (
    ONE_THREAD,
    Reads,
    batches,
    loss,
    planted_variant,
    right,
    timed_variant,
    toy_variant,
    unquantized_variant,
)
from fake_clock import fake_pair, swaying
from hypothesis import given
from hypothesis import strategies as st

from pytest_quant import (
    Metric,
    Outcome,
    QuantStageError,
    Recipe,
    Subject,
    assert_no_regression,
)
from pytest_quant.baseline.baseline import Baseline
from pytest_quant.judge import recorder
from pytest_quant.judge.recorder import Running
from pytest_quant.machine.environment import environment
from pytest_quant.report.baselines import Gathered, scores_of
from pytest_quant.report.document import Report
from pytest_quant.report.rows import row_of
from pytest_quant.store.open import open_store

PASS, FAIL, INCONCLUSIVE = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE
B = 0.002


@pytest.fixture
def folder(tmp_path):
    """The folder of baselines, as a run tells it to the helper."""
    with recorder.running(Running("test", baselines=tmp_path)):
        yield tmp_path


def baseline_of(*variants, **environment_then):
    for variant in variants:
        _ = variant.evaluation, variant.size, variant.int8_share
    gathered = Gathered()
    gathered.add(scores_of(variants))
    report = Report(environment(ONE_THREAD) | environment_then, [row_of(v) for v in variants])
    return gathered.baseline("main", report)


def saved(folder, *variants, **environment_then):
    """Save these variants as main."""
    text = baseline_of(*variants, **environment_then).to_json()
    (folder / "main.json").write_text(text)


def changed(folder, change):
    """Edit the saved baseline."""
    plain = json.loads((folder / "main.json").read_text())
    change(plain)
    (folder / "main.json").write_text(json.dumps(plain))


def then_and_now(fp32, then, now, *, metric=None, size=50):
    """The static variant of one model twice: with the scores `then`, and with the scores `now`."""
    inputs = torch.tensor([fp32, then, now, range(len(fp32))], dtype=torch.float32).T
    data = list(zip(inputs.split(size), torch.zeros(len(fp32)).long().split(size), strict=True))
    subject = Subject(Reads(0, 0.5), "planted", eval_data=data, metric=metric)
    for column in (1, 2):
        recipe = Recipe(
            "custom", build=lambda module, column=column: Reads(column, 0.25), quantized=False
        )
        yield open_store(ONE_THREAD).variant(subject, recipe, "static")


def outcomes(verdicts):
    return {verdict.quantity: verdict.outcome for verdict in verdicts}


def test_an_unchanged_variant_passes_in_every_quantity(folder):
    saved(folder, toy_variant())
    verdicts = assert_no_regression(toy_variant(), "main")
    assert outcomes(verdicts) == {"accuracy": PASS, "size": PASS, "int8 share": PASS}
    assert {verdict.gate for verdict in verdicts} == {"no_regression"}
    assert recorder.current().verdicts == list(verdicts)


def test_fp32_has_a_baseline_too(folder):
    fp32 = toy_variant().fp32
    saved(folder, fp32)
    assert all(verdict.passed for verdict in assert_no_regression(fp32, "main"))


def test_worse_scores_fail_with_what_was_and_what_is(folder):
    then, now = then_and_now(right(100, 100), right(90, 100), right(89, 100))
    saved(folder, then)
    with pytest.raises(AssertionError, match=(
        r"accuracy FAIL: static drops 1\.00 pt \(90\.00 % in baseline main, 89\.00 % now; 100 samples, "
        r"1 worse and 0 better\), allowed 0\.00 pt"
    )):  # fmt: skip
        assert_no_regression(now, "main")


def test_better_scores_are_told_and_pass(folder):
    then, now = then_and_now(right(100, 100), right(89, 100), right(90, 100))
    saved(folder, then)
    (verdict, *_) = assert_no_regression(now, "main")
    assert verdict.outcome is PASS
    assert "rises 1.00 pt (89.00 % in baseline main, 90.00 % now" in verdict.sentence
    assert verdict.observed == pytest.approx(-0.01)


def test_samples_are_paired_whatever_order_they_come_in(folder):
    fp32, own = right(40, 40), [1, 0] * 20
    saved(folder, planted_variant(fp32, own))
    other = planted_variant(fp32, own, size=7)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(3))
    x, y = (torch.cat(part)[order] for part in zip(*other.subject.eval_data, strict=True))
    data = list(zip(x.split(9), y.split(9), strict=True))
    shuffled = open_store(ONE_THREAD).variant(
        replace(other.subject, eval_data=data), other.recipe, "static"
    )
    (verdict, *_) = assert_no_regression(shuffled, "main")
    assert (verdict.evidence["worse"], verdict.evidence["better"]) == (0, 0)


def test_as_many_better_as_worse_is_no_drop_and_both_are_counted(folder):
    then, now = then_and_now(right(9, 9), [1, 1, 0, 0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 0, 1, 1, 1, 1])
    saved(folder, then)
    (verdict, *_) = assert_no_regression(now, "main")
    assert verdict.outcome is PASS
    assert "is as good as it was" in verdict.sentence
    assert "2 worse and 2 better" in verdict.sentence


@given(st.integers(0, 40), st.integers(0, 40))
def test_the_limit_is_exact(tmp_path_factory, before, drop):
    """A drop of d samples of 100 is at most 0.07 exactly when d is at most 7: 0.07 * 100 is not 7.0."""
    folder = tmp_path_factory.mktemp("baselines")
    after = max(0, before - drop)
    with recorder.running(Running("test", baselines=folder)):
        then, variant = then_and_now(
            right(50, 100), right(before, 100), right(after, 100), size=100
        )
        saved(folder, then)
        if Fraction(before - after, 100) <= Fraction(7, 100):
            assert_no_regression(variant, "main", max_drop=0.07)
        else:
            with pytest.raises(AssertionError, match="accuracy FAIL"):
                assert_no_regression(variant, "main", max_drop=0.07)


def test_a_rising_loss_is_a_regression_and_a_falling_one_is_not(folder):
    low, high = then_and_now([0.5] * 8, [0.1] * 8, [0.11] * 8, metric=loss())
    saved(folder, low)
    with pytest.raises(
        AssertionError, match=r"loss FAIL: static rises 0\.01 .*8 worse and 0 better"
    ):
        assert_no_regression(high, "main")
    saved(folder, high)
    assert_no_regression(low, "main")


def test_a_perplexitys_limit_is_its_relative_rise(folder):
    metric = loss("perplexity", "perplexity")
    then, risen = then_and_now([1.0] * 4, [1.0] * 4, [1.02] * 4, metric=metric)
    saved(folder, then)
    assert_no_regression(risen, "main", max_drop=0.03)
    with pytest.raises(AssertionError, match=r"perplexity FAIL: static rises 2\.02 %.*allowed 1 %"):
        assert_no_regression(risen, "main", max_drop=0.01)


@pytest.mark.parametrize("unit", ["raw", "perplexity"])
def test_a_metric_of_the_whole_set_is_compared_as_one_number(folder, unit):
    def whole(outputs, targets):
        return outputs[:, 0].mean()

    metric = Metric(whole, "mean", higher_is_better=False, unit=unit)
    then, now = then_and_now([1.0] * 4, [0.25] * 4, [0.5] * 4, metric=metric)
    saved(folder, then)
    assert "worse" not in assert_no_regression(then, "main")[0].evidence
    with pytest.raises(AssertionError, match=r"mean FAIL: static rises "):
        assert_no_regression(now, "main")


def test_of_several_metrics_the_named_one_is_judged(folder):
    metrics = {"top-1": Metric.top_k(1), "loss": loss()}
    then, now = then_and_now(right(4, 4), right(2, 4), right(1, 4), metric=metrics)
    saved(folder, then)
    assert_no_regression(now, "main", metric="loss")  # the planted score is the loss: it fell
    with pytest.raises(AssertionError, match="accuracy FAIL"):
        assert_no_regression(now, "main")


def test_a_larger_model_and_a_smaller_share_fail_and_name_the_layer(folder):
    saved(folder, toy_variant(Recipe("static"), name="static"))
    recipe = Recipe("static", keep_fp32=("2",))
    with pytest.raises(AssertionError) as failed:
        assert_no_regression(toy_variant(recipe, name="static"), "main", max_drop=0.9)
    size, share = str(failed.value).splitlines()
    assert size.startswith("size FAIL: static needs ")
    assert share.startswith("int8 share FAIL: ")
    assert share.endswith("now FP32 too: 2")


def test_a_smaller_model_passes(folder):
    saved(folder, toy_variant(Recipe("static", keep_fp32=("2",)), name="static"))
    verdicts = assert_no_regression(
        toy_variant(Recipe("static"), name="static"), "main", max_drop=0.9
    )
    assert all(verdict.passed for verdict in verdicts)


def test_a_variant_that_was_not_quantized_fails_whatever_the_baseline_says(folder):
    saved(folder, unquantized_variant("static"))
    with pytest.raises(AssertionError, match="int8 share FAIL: static was not quantized"):
        assert_no_regression(unquantized_variant("static"), "main")


def test_nan_where_fp32_has_none_fails(folder):
    then, now = then_and_now([1.0] * 4, [1.0] * 4, [1.0, float("nan"), 1.0, 1.0])
    saved(folder, then)
    with pytest.raises(AssertionError, match="accuracy FAIL: static gives NaN"):
        assert_no_regression(now, "main")


# speed


def timed(ratio, rounds=30, **more):
    """A variant whose rounds give this ratio; so many are there already."""
    pair = fake_pair(ratio * B, B, **more)
    variant = timed_variant(pair)
    variant.pair("given").add_rounds(rounds, 1e9)
    return variant


def speed(verdicts):
    return next(verdict for verdict in verdicts if verdict.quantity == "speed-up")


def test_the_same_speed_up_passes_here_and_now(folder):
    saved(folder, timed(2.0))
    verdict = speed(assert_no_regression(timed(2.0, rounds=0), "main"))
    assert verdict.outcome is PASS
    assert verdict.limit == pytest.approx(1.9)
    assert verdict.evidence["rounds"] == 13
    assert "baseline main had 2.00x [2.00, 2.00], 5 % are tolerated" in verdict.sentence


def test_a_slower_variant_fails_once_it_is_confirmed(folder):
    saved(folder, timed(2.0))
    slow = timed(1.7, rounds=0, remade=lambda: fake_pair(1.7 * B, B))
    with pytest.raises(AssertionError, match=r"speed-up FAIL: dynamic is 1\.70x.*required 1\.9x"):
        assert_no_regression(slow, "main")


def test_a_stored_number_counts_with_its_lower_end(folder):
    saved(folder, timed(2.0))
    interval = [1.6, 2.4]
    changed(folder, lambda plain: plain["rows"][0]["latency"].update(interval_95=interval))
    verdict = speed(assert_no_regression(timed(1.7, rounds=0), "main"))
    assert (verdict.outcome, verdict.limit) == (PASS, pytest.approx(1.52))


def test_too_few_rounds_then_decide_nothing_now(folder):
    saved(folder, timed(2.0, rounds=3))
    verdict = speed(assert_no_regression(timed(1.0, rounds=0), "main"))
    assert verdict.outcome is INCONCLUSIVE
    assert "timed 3 rounds only" in verdict.sentence


@pytest.mark.parametrize(
    ("name", "then"),
    [
        ("cpu", "another"), ("isa", "SSE"), ("vnni", None), ("cores", 99), ("threads", 7), ("torch", "1.0"),
        ("system", "BSD"),
    ],
)  # fmt: skip
def test_another_machine_decides_nothing_about_speed_and_all_about_the_rest(folder, name, then):
    saved(folder, timed(9.0), **{name: then})
    verdicts = assert_no_regression(timed(1.0, rounds=0), "main")
    verdict = speed(verdicts)
    assert verdict.outcome is INCONCLUSIVE
    assert f"{name} " in verdict.sentence
    assert verdict.observed is None
    rest = {
        quantity: outcome
        for quantity, outcome in outcomes(verdicts).items()
        if quantity != "speed-up"
    }
    assert rest == {"accuracy": PASS, "size": PASS, "int8 share": PASS}


def test_another_batch_or_engine_decides_nothing_about_speed(folder):
    for change in (
        lambda row: row["latency"].update(batch=1),
        lambda row: row["recipe"].update(engine="qnnpack"),
    ):
        saved(folder, timed(9.0))
        changed(folder, lambda plain, change=change: change(plain["rows"][0]))
        assert speed(assert_no_regression(timed(1.0, rounds=0), "main")).outcome is INCONCLUSIVE


def test_what_noise_leaves_open_is_inconclusive(folder):
    saved(folder, timed(2.0))
    pair = fake_pair(swaying(1.9 * B), B)
    assert speed(assert_no_regression(timed_variant(pair), "main")).outcome is INCONCLUSIVE


def test_another_environment_is_named_when_accuracy_fails(folder):
    then, now = then_and_now(right(10, 10), right(9, 10), right(8, 10))
    saved(folder, then, isa="AVX2-then")
    with pytest.raises(AssertionError, match=r"isa AVX2-then -> .* a few samples may flip"):
        assert_no_regression(now, "main")


# what cannot be compared


def test_another_eval_set_is_refused_and_both_are_named(folder):
    saved(folder, toy_variant())
    other = toy_variant(eval_data=[*batches(seed=1), *batches(16, seed=9)])
    with pytest.raises(QuantStageError) as refused:
        assert_no_regression(other, "main")
    sentence = str(refused.value)
    assert sentence.startswith(
        "evaluate ERROR: quant_eval_data is not what baseline main was measured on"
    )
    assert "48 samples now (fingerprint " in sentence
    assert "32 then (" in sentence
    assert "32 are in both" in sentence


def test_other_quantities_are_judged_though_accuracy_cannot_be(folder):
    saved(folder, toy_variant())
    changed(folder, lambda plain: plain["rows"][0]["size"].update(tensor_bytes=1))
    with pytest.raises(AssertionError, match=r"size FAIL: .*\nevaluate ERROR: quant_eval_data"):
        assert_no_regression(toy_variant(eval_data=batches(seed=7)), "main")


def test_a_missing_or_damaged_baseline_is_a_clear_error(folder):
    with pytest.raises(QuantStageError, match="baseline ERROR: there is no baseline 'main'"):
        assert_no_regression(toy_variant(), "main")
    (folder / "main.json").write_text('{"form": "pytest-quant base')
    with pytest.raises(QuantStageError, match=r"baseline ERROR: .*main.json cannot be read"):
        assert_no_regression(toy_variant(), "main")


def test_a_variant_that_the_baseline_lacks_is_an_error_that_lists_what_it_holds(folder):
    saved(folder, toy_variant())
    with pytest.raises(
        QuantStageError, match="holds no Sequential qat; it holds Sequential dynamic"
    ):
        assert_no_regression(toy_variant(name="qat"), "main")


def test_a_metric_that_the_baseline_lacks_or_has_otherwise_is_an_error(folder):
    saved(folder, planted_variant([1.0], [1.0], metric=loss("old")))
    with pytest.raises(QuantStageError, match="it has no metric new, but old"):
        assert_no_regression(planted_variant([1.0], [1.0], metric=loss("new")), "main")
    with pytest.raises(QuantStageError, match="another unit or direction"):
        assert_no_regression(planted_variant([1.0], [1.0], metric=loss("old", "fraction")), "main")


def test_what_was_not_stored_is_not_judged_and_that_is_noted(folder):
    variant = toy_variant()
    _ = variant.size
    report = Report(environment(ONE_THREAD), [row_of(variant)])
    (folder / "main.json").write_text(Gathered().baseline("main", report).to_json())
    variant = toy_variant()
    assert outcomes(assert_no_regression(variant, "main")) == {"size": PASS}
    assert variant.measured("evaluation") is None
    assert "baseline main holds no accuracy or speed-up, so no regression" in "; ".join(
        variant.notes
    )


def test_while_it_is_being_saved_all_is_measured_and_nothing_judged(tmp_path):
    pair = fake_pair(2 * B, B)
    with recorder.running(Running("test", baselines=tmp_path, saving="main")) as test:
        variant = timed_variant(pair)
        assert assert_no_regression(variant, "main") == ()
        assert variant.measured("evaluation") is not None
        assert len(pair.seconds_a) == 30
        with pytest.raises(QuantStageError, match="no baseline 'other'"):
            assert_no_regression(variant, "other")
        with pytest.raises(AssertionError, match="was not quantized"):
            assert_no_regression(unquantized_variant("static"), "main")
    assert len(test.verdicts) == 1


@pytest.mark.parametrize(
    ("given_", "error", "why"),
    [
        ({"max_drop": 1}, ValueError, "0.01 is one point"),
        ({"max_drop": -0.1}, ValueError, "expected a fraction"),
        ({"max_drop": "1 %"}, TypeError, "expected a fraction"),
        ({"metric": "iou"}, ValueError, "not among quant_metric's: top-1"),
    ],
)
def test_wrong_arguments_are_refused(folder, given_, error, why):
    saved(folder, toy_variant())
    with pytest.raises(error, match=why):
        assert_no_regression(toy_variant(), "main", **given_)


def test_what_is_no_variant_or_no_name_is_refused(folder):
    with pytest.raises(TypeError, match="assert_no_regression was given 3"):
        assert_no_regression(3, "main")
    with pytest.raises(QuantStageError, match="no name for a baseline"):
        assert_no_regression(toy_variant(), "../main")


def test_scores_of_a_baseline_are_those_of_the_evaluation():
    variant = planted_variant([0.25] * 6, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], metric=loss())
    kept = baseline_of(variant, variant.fp32)
    again = Baseline.from_dict(json.loads(kept.to_json()))
    from pytest_quant.baseline.packing import unpack_scores

    for row, each in zip(again.rows, (variant.fp32, variant), strict=True):
        scores = unpack_scores(again.scores_of(row)["loss"], 6)
        assert np.array_equal(scores, each.evaluation.scores["loss"])
    assert len(again.eval_sets) == 1


def checkpoint(column, other, fp32, now, size=50):
    """The static variant of an FP32 model that reads `column`, with `other` as its only weight."""
    inputs = torch.tensor([fp32, now, range(len(fp32))], dtype=torch.float32).T
    data = list(zip(inputs.split(size), torch.zeros(len(fp32)).long().split(size), strict=True))
    subject = Subject(Reads(column, other), "planted", eval_data=data)
    recipe = Recipe("custom", build=lambda module: Reads(column, 0.25), quantized=False)
    return open_store(ONE_THREAD).variant(subject, recipe, "static")


@pytest.mark.parametrize(
    ("column", "other", "max_drop", "said"),
    [
        (1, 0.4, 0.0,
         "FP32's weights changed since baseline main, and FP32 itself drops 10.00 pt (10 samples worse "
         "and 0 better), so look at the checkpoint first; static drops 10.00 pt"),
        (1, 0.5, 0.0,
         "FP32 itself drops 10.00 pt (10 samples worse and 0 better) since baseline main, though its "
         "weights are the same, so look at the code and the data first; static drops 10.00 pt"),
        (0, 0.4, 0.0, None),
        (1, 0.4, 0.5, None),
    ],
)  # fmt: skip
def test_a_fail_says_first_what_changed_of_fp32(folder, column, other, max_drop, said):
    then, now = right(90, of=100), right(80, of=100)
    saved(
        folder, *(v for variant in [checkpoint(0, 0.5, then, now)] for v in (variant.fp32, variant))
    )
    variant = checkpoint(column, other, then, now)
    if said is None:
        assert assert_no_regression(variant, "main", max_drop=max_drop)
        return
    with pytest.raises(AssertionError) as caught:
        assert_no_regression(variant, "main", max_drop=max_drop)
    assert str(caught.value).startswith(f"accuracy FAIL: {said}")


def test_fp32_itself_and_a_variant_alone_say_that_weights_changed(folder):
    then, now = right(90, of=100), right(80, of=100)
    variant = checkpoint(0, 0.5, then, now)
    saved(folder, variant, variant.fp32)
    worse = checkpoint(1, 0.4, then, now).fp32
    with pytest.raises(AssertionError, match="weights changed since baseline main; fp32 drops"):
        assert_no_regression(worse, "main")
    saved(folder, variant)  # without FP32's row
    with pytest.raises(
        AssertionError, match="FP32's weights changed since baseline main; static drops"
    ):
        assert_no_regression(checkpoint(1, 0.4, then, now), "main")


def as_version_1(plain):
    plain["version"] = 1
    del plain["verdicts"]
    for row in plain["rows"]:
        for name in ("fp32_digest", "model_ids", "variant_ids"):
            row.pop(name, None)


def as_version_2(plain):
    plain["version"] = 2


def test_accuracy_of_a_baseline_of_version_2_is_not_compared_and_the_rest_is(folder):
    then, now = then_and_now(right(100, 100), right(90, 100), right(89, 100))
    saved(folder, then)
    changed(folder, as_version_2)
    with pytest.raises(QuantStageError, match=(
        r"baseline main cannot be compared with static: an earlier version saved it, which told samples "
        r"apart by other digests, so nobody knows whether it was measured on these\. Save it again by "
        r"--quant-save=main"
    )):  # fmt: skip
        assert_no_regression(now, "main")
    assert [each.quantity for each in recorder.current().verdicts] == ["size", "int8 share"]


def test_what_a_baseline_of_version_1_lacks_is_noted(folder):
    then, now = then_and_now(right(100, 100), right(90, 100), right(89, 100))
    saved(folder, then)
    changed(folder, as_version_1)
    with pytest.raises(QuantStageError, match="told samples apart by other digests"):
        assert_no_regression(now, "main")
    assert now.fp32.notes[-1] == (
        "baseline main was saved by an earlier version: it holds no digest of FP32's weights, so a "
        "changed checkpoint cannot be told"
    )
    now.ids = "small"
    with pytest.raises(QuantStageError, match=(
        r"holds no planted static\[small\].* an earlier version saved it, which did not tell parameters"
    )):  # fmt: skip
        assert_no_regression(now, "main")
