"""Evaluation: scores merged and paired by sample, whatever the order of the pass."""

import gc
import weakref
from itertools import permutations

import numpy as np
import pytest
import torch
from builders import (
    ONE_THREAD,
    batches,
    planted_variant,
    reward,
    right,
    toy_subject,
    toy_variant,
)

from pytest_quant import Metric, QuantStageError, Recipe
from pytest_quant.store.open import open_store
from pytest_quant.variant.evaluation import (
    BatchScores,
    Gathered,
    class_numbers,
    merged,
    numbered,
)

TOP_1 = Metric.top_k(1)
MEAN = Metric(lambda outputs, targets: 0.0, "mean")


def batch(names, scores):
    """Samples named by letters, with a score each or the mean of all."""
    digests = [name.encode().ljust(16, b".") for name in names]
    scores = np.array(scores, dtype=np.float64) if isinstance(scores, list) else scores
    return BatchScores(
        digests, digests, digests, [b""] * len(names), {"top-1": scores, "mean": scores}
    )


def evaluation(*parts, metric=TOP_1):
    return merged(list(parts), (metric,), {})


def scores_by_name(result):
    names = [bytes.fromhex(sample[:16].decode())[:1].decode() for sample in result.samples]
    return dict(zip(names, result.scores["top-1"].tolist(), strict=True))


class Shuffling:
    """Another order on each pass."""

    def __init__(self, data):
        self.inputs, self.targets = (torch.cat(parts) for parts in zip(*data, strict=True))
        self.passes = 0

    def __iter__(self):
        self.passes += 1
        seed = torch.Generator().manual_seed(self.passes)
        order = torch.randperm(len(self.inputs), generator=seed)
        sizes = 5 + self.passes  # other batches too
        return zip(self.inputs[order].split(sizes), self.targets[order].split(sizes), strict=True)


class Moving(Shuffling):
    """Other samples on each pass."""

    def __iter__(self):
        self.passes += 1
        yield self.inputs + self.passes, self.targets


class Positive:
    """An accumulator of the share of samples whose first output is positive, which may refuse a class."""

    higher_is_better = True

    def __init__(self, refuses=()):
        self.refuses = refuses

    def reset(self):
        self.seen = []

    def update(self, outputs, targets):
        if set(self.refuses) & set(targets.tolist()):
            raise ValueError("a class that I do not know")
        self.seen += (outputs[:, 0] > 0).tolist()

    def compute(self):
        return self.seen.count(True) / len(self.seen)


def test_batches_merge_in_any_order():
    parts = [batch("abc", [1, 0, 1]), batch("de", [0, 0]), batch("f", [1])]
    results = [evaluation(*order) for order in permutations(parts)]
    for result in results:
        assert scores_by_name(result) == {"a": 1, "b": 0, "c": 1, "d": 0, "e": 0, "f": 1}
        assert result.values == {"top-1": 0.5}
        for array in ("samples", "outputs", "irregular"):
            assert np.array_equal(getattr(result, array), getattr(results[0], array))


def test_order_leads_back_to_the_pass():
    result = evaluation(batch("ca", [3, 1]), batch("b", [2]))
    assert result.scores["top-1"].tolist() == [1, 2, 3]
    assert result.order.tolist() == [1, 2, 0]


def test_shuffled_passes_are_paired_by_sample():
    fp32 = evaluation(batch("abcd", [1, 0, 1, 1]))
    own = evaluation(batch("dc", [1, 1]), batch("ba", [0, 0]))
    assert np.array_equal(fp32.samples, own.samples)
    assert int((fp32.scores["top-1"] != own.scores["top-1"]).sum()) == 1  # zipped: 3


def test_a_repeated_sample_counts_as_often_as_it_comes():
    result = evaluation(batch("aba", [1, 0, 1]), batch("a", [1]))
    assert len(result) == 4
    assert len(set(result.samples.tolist())) == 4
    assert len(result.inputs) == 2
    assert result.values == {"top-1": 0.75}


def test_repeats_are_numbered_in_the_order_they_come():
    a, b = b"a" * 16, b"b" * 16
    marks = numbered([a, b, a, a])
    assert [mark[-8:] for mark in marks] == [b"00000000", b"00000000", b"00000001", b"00000002"]
    assert len(set(marks)) == 4
    assert all(len(mark) == 24 for mark in marks)


def test_digests_that_end_in_zeros_stay_apart():
    samples = [b"a" * 15 + b"\0", b"a" * 14 + b"\0\0"]
    marks = np.array(numbered([sample[::-1] for sample in samples]), dtype="S24")
    assert len(set(marks.tolist())) == 2


def test_the_mean_of_a_batch_weighs_as_much_as_its_samples():
    result = evaluation(batch("abc", 1.0), batch("d", 0.0), metric=MEAN)
    assert result.values == {"mean": 0.75}
    assert result.scores == {}


def test_a_last_batch_without_scores_of_its_own_is_weighed_too():
    result = evaluation(batch("abc", [1, 1, 0]), batch("d", 0.0))
    assert result.values == {"top-1": pytest.approx(0.5)}
    assert result.scores == {}


@pytest.mark.parametrize(
    ("labels", "rate"),
    [
        ([torch.tensor([0, 0, 1]), torch.tensor([0])], 0.75),
        ([torch.tensor([2, 1])], 0.5),
        ([torch.tensor([0.5, 1.5])], None),
        ([torch.zeros(3, 2, dtype=torch.long)], None),
        ([torch.tensor([0]), "word"], None),
        ([], None),
    ],
)
def test_the_majority_rate_is_that_of_the_commonest_class(labels, rate):
    gathered = Gathered((TOP_1,))
    for index, each in enumerate(labels):
        gathered.add(batch(f"{index}" * len(each), [1] * len(each)), class_numbers(each))
    assert gathered.evaluation({}).majority_rate == rate


def test_a_variant_is_paired_with_fp32_though_each_pass_is_shuffled():
    data = Shuffling(batches(samples=64))
    variant = toy_variant("dynamic", eval_data=data)
    straight = toy_variant("dynamic", eval_data=data_of(data))
    fp32, own = variant.fp32.evaluation, variant.evaluation
    assert not np.array_equal(fp32.order, own.order)
    assert np.array_equal(fp32.samples, own.samples)
    assert fp32.values == straight.fp32.evaluation.values
    assert np.array_equal(fp32.scores["top-1"], straight.fp32.evaluation.scores["top-1"])


def data_of(shuffling):
    return [(shuffling.inputs, shuffling.targets)]


def test_samples_that_change_between_passes_are_an_error():
    variant = toy_variant("dynamic", eval_data=Moving(batches()))
    with pytest.raises(QuantStageError, match=r"yields other samples on each pass: 32 of 32"):
        _ = variant.evaluation


def test_a_loader_that_drops_another_last_batch_each_time_is_told_so():
    class Shuffled(torch.utils.data.Sampler):
        passes = 0

        def __iter__(self):
            self.passes += 1
            order = torch.Generator().manual_seed(self.passes)
            return iter(torch.randperm(40, generator=order).tolist())

        def __len__(self):
            return 40

    (inputs, targets) = batches(40, size=40)[0]
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(inputs, targets), 16, sampler=Shuffled(), drop_last=True
    )
    with pytest.raises(
        QuantStageError, match="shuffling is fine, but not together with drop_last=T"
    ):
        _ = toy_variant("dynamic", eval_data=loader).evaluation


def test_planted_scores_come_out_as_planted():
    variant = planted_variant(right(90, of=100), right(83, of=100))
    assert variant.fp32.evaluation.values == {"top-1": 0.9}
    assert variant.evaluation.values == {"top-1": 0.83}
    assert variant.evaluation.majority_rate == 1.0


def test_several_metrics_come_from_one_pass():
    own = {
        "score": reward(unit="raw"),
        "mean": reward(unit="raw", whole=True),
        "positive": Positive(),
    }
    result = planted_variant([3, 1, 2], [1, 1, 1], metric=own, size=2).fp32.evaluation
    assert result.values == {"score": 2.0, "mean": 2.0, "positive": 1.0}
    assert list(result.scores) == ["score"]


def test_an_accumulator_sees_each_batch_once():
    variant = toy_variant("dynamic", metric=Positive())
    for each in (variant.fp32, variant):
        first = torch.cat([each(inputs)[:, 0] for inputs, _ in batches()])
        assert each.evaluation.values == {"Positive": float((first > 0).double().mean())}


def test_an_accumulator_that_raises_on_a_later_batch_is_an_error_that_names_it():
    data = [(torch.zeros(2, 8), torch.tensor([0, 1])), (torch.ones(2, 8), torch.tensor([0, 2]))]
    variant = toy_variant("dynamic", eval_data=data, metric=Positive(refuses=[2]))
    with pytest.raises(QuantStageError, match="metric Positive raised: ValueError: a class that"):
        _ = variant.fp32.evaluation


def two_outputs(*, first, second):
    """A variant with two output tensors, with these numbers on the first sample."""

    def build(module):
        def run(x):
            a, b = module(x), module(x) * 2
            a[0], b[0] = first, second
            return {"logits": a, "boxes": b}

        return run

    return build


@pytest.mark.parametrize(
    ("first", "second", "broken"),
    [
        (0.0, float("inf"), False),
        (float("nan"), float("inf"), True),
        (0.0, float("-inf"), True),
        (0.0, 0.0, True),
    ],
)
def test_outputs_that_are_not_finite_are_told_apart_in_every_tensor(first, second, broken):
    class Infinite(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = torch.nn.Linear(8, 3)

        def forward(self, x):
            boxes = self.fc(x) * 2
            boxes[0] = float("inf")
            return {"logits": self.fc(x), "boxes": boxes}

    def build(module):
        return two_outputs(first=first, second=second)(module.fc)

    data = [batches(samples=16)[0]]
    variant = toy_variant(Recipe("custom", build=build), model=Infinite(), eval_data=data)
    own, fp32 = variant.evaluation.irregular, variant.fp32.evaluation.irregular
    assert int((fp32 != b"").sum()) == 1
    assert (not np.array_equal(own, fp32)) is broken


def test_a_metric_without_a_score_for_outputs_as_finite_as_fp32s_is_an_error():
    def picky(outputs, targets):
        if outputs[:, 1].max() < 0.5:  # planted: the variant's
            raise ValueError("too small")
        return outputs[:, 0]

    infinity = float("inf")
    variant = planted_variant(
        [1, infinity], [1, infinity], metric=Metric(lambda o, t: o[:, 1], "m")
    )
    assert variant.evaluation.values == {"m": 0.25}
    variant = planted_variant(
        [1, infinity], [1, infinity], metric=Metric(scores_of_one(picky), "m")
    )
    with pytest.raises(QuantStageError, match="metric m has no score for static"):
        _ = variant.evaluation


def scores_of_one(check):
    def scores(outputs, targets):
        check(outputs, targets)
        return outputs[:, 1]

    return scores


class Masks:
    """Dense targets, made batch by batch; counts those that are still alive."""

    def __init__(self, batches=12):
        self.batches = batches
        self.alive = weakref.WeakSet()
        self.most = 0

    def __iter__(self):
        for index in range(self.batches):
            targets = torch.full((4, 8, 8), index % 3)
            self.alive.add(targets)
            self.most = max(self.most, len(self.alive))
            yield torch.rand(4, 1, 8, 8), targets
            del targets


def pixels(outputs, targets):
    return (outputs.argmax(1) == targets).double().flatten(1).mean(1)


@pytest.mark.parametrize("metric", [None, Metric(pixels, "pixels", higher_is_better=True)])
def test_targets_are_let_go_batch_by_batch(metric):
    torch.manual_seed(0)
    data = Masks()
    model = torch.nn.Conv2d(1, 3, 1).eval()
    fp32 = open_store(ONE_THREAD).fp32(toy_subject(model, eval_data=data, metric=metric))
    gc.collect()
    data.most = 0
    assert len(fp32.evaluation) == 48
    assert data.most <= 4  # the first, kept to be scored again, and the one at work
