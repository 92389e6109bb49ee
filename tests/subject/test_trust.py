"""Trust: direction, unit, memory and blindness of a metric, as FP32's outputs show them."""

from collections import Counter

import pytest
import torch
from builders import ONE_THREAD, batches
from torch.nn import functional as F

from pytest_quant import Metric, QuantStageError, Subject
from pytest_quant.store.open import open_store

CLASSES = 3


class Reading(torch.nn.Module):
    """Gives the first three inputs as logits, twentyfold: right on nearly every sample of `batches`."""

    def __init__(self, sign=20.0, columns=slice(0, 3)):
        super().__init__()
        self.sign = torch.nn.Parameter(torch.tensor(sign))
        self.columns = columns

    def forward(self, x):
        return self.sign * x[:, self.columns]


class Line(torch.nn.Module):
    """Gives the sum of the inputs, the target of `lines`."""

    def forward(self, x):
        return x.sum(1)


def lines(samples=64, size=16, spread=1.0):
    """(inputs [n, 8], their sums [n]), with a little noise."""
    generator = torch.Generator().manual_seed(7)
    x = spread * torch.randn(samples, 8, generator=generator)
    y = x.sum(1) + 0.1 * torch.randn(samples, generator=generator)
    return list(zip(x.split(size), y.split(size), strict=True))


def accuracy(outputs, targets):
    return outputs.argmax(1) == targets


def mse(outputs, targets):
    return (outputs - targets).square().mean()


def r2(outputs, targets):
    return 1 - (outputs - targets).square().sum() / (targets - targets.mean()).square().sum()


class Meter:
    """Gathers a squared error, as torchmetrics' objects do; says no direction."""

    def reset(self):
        self.total = self.seen = 0.0

    def update(self, outputs, targets):
        self.total += float((outputs - targets).square().sum())
        self.seen += len(targets)

    def compute(self):
        return self.total / self.seen


def admitted(metric, model=None, data=None, samples=64):
    """FP32 of a model at the door."""
    subject = Subject(model or Reading(), eval_data=data or batches(samples), metric=metric)
    return open_store(ONE_THREAD).fp32(subject)


def known(metric, **parts):
    """What the door made of a metric: direction, unit, notes."""
    fp32 = admitted(metric, **parts)
    (found,) = fp32.admitted.metrics
    return found.higher_is_better, found.unit, [each for each in fp32.notes if "better" in each]


@pytest.mark.parametrize(
    ("metric", "parts", "higher", "unit"),
    [
        (accuracy, {}, True, "fraction"),
        (lambda o, y: accuracy(o, y).double().mean(), {}, True, "fraction"),
        (F.cross_entropy, {}, False, "raw"),
        (torch.nn.CrossEntropyLoss(), {}, False, "raw"),
        (lambda o, y: F.cross_entropy(o, y, reduction="none"), {}, False, "raw"),
        (lambda o, y: -o.softmax(1)[range(len(y)), y], {}, False, "raw"),
        (lambda o, y: o.softmax(1)[range(len(y)), y], {}, True, "fraction"),
        (lambda o, y: accuracy(o, y).logical_not(), {}, False, "raw"),
        (mse, {"model": Line(), "data": lines()}, False, "raw"),
        (Meter(), {"model": Line(), "data": lines()}, False, "raw"),
        (r2, {"model": Line(), "data": lines()}, True, "raw"),
        (mse, {"model": Line(), "data": lines(spread=0.01)}, False, "raw"),
        (mse, {"model": Line(), "data": [(x, torch.ones(16)) for x, _ in lines()]}, False, "raw"),
    ],
)
def test_direction_and_unit_are_measured_where_they_are_not_said(metric, parts, higher, unit):
    found = known(metric, **parts)
    assert found[:2] == (higher, unit)
    assert len(found[2]) == (0 if higher else 1)  # a note says that lower is better, as measured


@pytest.mark.parametrize("size", [1, 2, 64])
def test_samples_of_several_batches_are_looked_at(size):
    assert known(F.cross_entropy, data=batches(64, size=size))[:2] == (False, "raw")


def test_an_eval_set_sorted_by_class_asks_for_the_direction_of_an_error_rate_alone():
    inputs, targets = (torch.cat(part) for part in zip(*batches(600), strict=True))
    one = [(inputs[targets == 1].split(8)[0], targets[targets == 1].split(8)[0])] * 20
    assert known(accuracy, data=one) == (True, "fraction", [])
    with pytest.raises(
        QuantStageError, match=r"wrong is better cannot be measured on the first .* may be a loss"
    ):
        known({"wrong": lambda o, y: ~accuracy(o, y)}, data=one)
    assert known(F.cross_entropy, data=one)[:2] == (False, "raw")


@pytest.mark.parametrize("metric", [accuracy, lambda o, y: accuracy(o, y).double().mean()])
def test_fp32_at_chance_or_below_is_no_reason_to_turn_a_metric_round(metric):
    for model in (Reading(columns=slice(4, 7)), Reading(-20.0), Reading(0.0)):
        higher, unit, (note,) = known(metric, model=model)
        assert (higher, unit) == (True, "fraction")
        assert "is not known" in note


def test_a_loss_of_fp32_at_chance_asks_for_its_direction():
    model = Reading(columns=slice(4, 7))
    for metric in (F.cross_entropy, lambda o, y: F.cross_entropy(o, y, reduction="none")):
        with pytest.raises(QuantStageError, match=r"cannot be measured.*higher_is_better=False"):
            known(metric, model=model)


def test_a_tolerance_that_everything_meets_is_not_blind():
    wide = {"model": Line(), "data": [(x, 0.01 * y) for x, y in lines()]}
    assert known(lambda o, y: (o - y).abs() < 100, **wide) == (True, "fraction", [])


def test_a_few_samples_of_a_right_model_are_enough_for_an_accuracy():
    assert known(accuracy, samples=4) == (True, "fraction", [])


def test_what_the_user_says_is_taken_where_nothing_contradicts_it():
    metric = Metric(accuracy, "share", higher_is_better=False, unit="fraction")
    assert known(metric, model=Reading(columns=slice(4, 7))) == (False, "fraction", [])
    stated = Metric(mse, "mse", higher_is_better=False, unit="fraction")
    with pytest.raises(
        QuantStageError, match=r"mse is .* on FP32.* higher_is_better=False, unit='raw'"
    ):
        known(stated, data=[(x, 20 * F.one_hot(y, 3).float()) for x, y in batches(64)])


@pytest.mark.parametrize(
    ("fn", "said"), [(F.cross_entropy, True), (accuracy, False), (Meter(), True)]
)
def test_a_direction_that_the_outputs_contradict_is_an_error(fn, said):
    parts = {"model": Line(), "data": lines()} if isinstance(fn, Meter) else {}
    with pytest.raises(QuantStageError, match=rf"mine is said to have higher_is_better={said}"):
        known(Metric(fn, "mine", higher_is_better=said, unit="raw"), **parts)


class One(torch.nn.Module):
    def forward(self, x):
        return x[:, :1]


@pytest.mark.parametrize(
    ("metric", "model", "sentence"),
    [
        (lambda o, y: torch.ones(len(y)), None, "blind: it is 1 whatever the outputs are"),
        (lambda o, y: 0.0 * o.sum(), None, "blind: it is 0 whatever the outputs are"),
        (lambda o, y: (o.topk(3, 1).indices == y[:, None]).any(1), None, "blind: it is 1 whatever"),
        (lambda o, y: o.argmax(1) == y, One(), "blind: it is .* whatever the outputs are"),
        (lambda o, y: o.softmax(1).amax(1), None, "blind to the targets"),
        (Metric(lambda o, y: 1.0, "one", higher_is_better=True), None, "one is blind"),
    ],
)
def test_a_metric_that_sees_nothing_is_an_error(metric, model, sentence):
    with pytest.raises(QuantStageError, match=sentence):
        known(metric, model=model)


def test_a_metric_of_the_outputs_alone_is_taken_with_a_direction():
    sure = Metric(lambda o, y: o.softmax(1).amax(1), "sure", higher_is_better=True)
    assert known(sure)[:2] == (True, "fraction")


UNLABELLED = {
    "none": lambda x: None,
    "none by name": lambda x: {"label": None},
    "none of each": lambda x: [None] * len(x),
}


@pytest.mark.parametrize("target", UNLABELLED.values(), ids=UNLABELLED)
def test_without_targets_to_compare_with_a_direction_is_said_and_not_guessed(target):
    data = [(x, target(x)) for x, _ in batches(64)]
    for fn in (lambda o, y: o.softmax(1).amax(1), lambda o, y: o.mean(1).abs()):
        with pytest.raises(QuantStageError, match=r"targets .*cannot be measured\. Write Metric"):
            known(fn, data=data)
        said = Metric(fn, "mine", higher_is_better=False, unit="raw")
        assert known(said, data=data)[0] is False
    entropy = Metric(lambda o, y: -o.log_softmax(1).mean(1), "entropy", unit="perplexity")
    assert known(entropy, data=data)[:2] == (False, "perplexity")
    with pytest.raises(QuantStageError, match="one is blind"):
        known(Metric(lambda o, y: 1.0, "one", higher_is_better=True), data=data)


class Rebuilding(torch.nn.Module):
    """Gives what it was given beside what it makes of it, and whole numbers."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inner = torch.nn.Linear(8, 8)

    def forward(self, x):
        made = self.inner(x)
        return {"made": made, "given": x, "ids": made.argmax(1)}


def correlation(outputs, targets):
    made, given = outputs["made"].flatten(), outputs["given"].flatten()
    return torch.corrcoef(torch.stack([made, given]))[0, 1]


@pytest.mark.parametrize(
    "fn", [correlation, lambda o, y: (o["ids"] == 3).float(), lambda o, y: o["ids"].float()]
)
def test_a_metric_of_two_outputs_or_of_whole_numbers_is_not_blind_without_targets(fn):
    data = [(x, None) for x, _ in batches(64)]
    said = Metric(fn, "mine", higher_is_better=True, unit="raw")
    assert known(said, model=Rebuilding().eval(), data=data)[0] is True


@pytest.mark.parametrize("fn", [accuracy, lambda o, y: F.cross_entropy(o, y, reduction="none")])
def test_samples_of_one_class_are_targets_to_compare_with(fn):
    data = [(x[y == 1], y[y == 1]) for x, y in batches(64)]
    assert known(fn, data=data)[0] is (fn is accuracy)


@pytest.mark.parametrize(
    ("fn", "sentence"),
    [
        (
            lambda o, y: 100.0 * accuracy(o, y),
            r"is 100 on FP32.*Divide a percentage by 100.*unit='raw'",
        ),
        (lambda o, y: accuracy(o, y).sum(), r"is 16 on FP32"),
        (lambda o, y: accuracy(o, y).double() - 1.5, r"is -0\.5 on FP32.*unit='raw'"),
    ],
)
def test_values_that_are_no_fractions_are_an_error_that_says_what_to_write(fn, sentence):
    for metric in (fn, Metric(fn, "mine", higher_is_better=True, unit="fraction")):
        with pytest.raises(QuantStageError, match=sentence):
            known(metric)
    assert known(Metric(fn, "mine", unit="raw"))[:2] == (True, "raw")


def test_a_late_batch_out_of_range_is_an_error_of_the_pass():
    def growing(outputs, targets):
        return accuracy(outputs, targets) * (1.0 if len(targets) == 16 else 2.0)

    fp32 = admitted(growing, samples=70)  # the fifth batch is short
    with pytest.raises(QuantStageError, match="growing is 2 on FP32"):
        _ = fp32.evaluation


class Running:
    """A running accuracy, as a training loop's meter gives it."""

    hits = seen = 0

    def __call__(self, outputs, targets):
        self.hits += int(accuracy(outputs, targets).sum())
        self.seen += len(targets)
        return self.hits / self.seen


class Best:
    """Remembers the best batch of more than 20 samples, which the door does not see."""

    best = 0.0

    def __call__(self, outputs, targets):
        if len(targets) > 20:
            self.best = 0.4
        return accuracy(outputs, targets).double() * (1.0 - self.best)


class Sticky(Meter):
    """Forgets nothing."""

    def __init__(self):
        self.updates = Counter()

    def __deepcopy__(self, memo):
        other = type(self)()
        other.updates = self.updates
        return other

    def update(self, outputs, targets):
        self.updates["all"] += 1
        super().update(outputs, targets)

    def compute(self):
        return super().compute() + self.updates["all"]


@pytest.mark.parametrize(
    ("metric", "parts"),
    [
        (Running(), {"model": Reading(columns=slice(1, 4))}),
        (lambda o, y: accuracy(o, y).double() * torch.rand(()), {}),
        (Sticky(), {"model": Line(), "data": lines()}),
    ],
)
def test_a_metric_that_remembers_or_is_random_is_an_error(metric, parts):
    with pytest.raises(QuantStageError, match="another number for the same outputs"):
        known(Metric(metric, "mine", higher_is_better=not isinstance(metric, Sticky)), **parts)


def test_a_memory_of_later_batches_is_found_after_the_pass():
    data = [*batches(64), *batches(30, seed=5, size=30)]
    fp32 = admitted(Best(), data=data)
    with pytest.raises(QuantStageError, match="Best gives another number for the same outputs"):
        _ = fp32.evaluation


def test_values_of_classes_are_no_scores_of_as_many_samples():
    def by_class(outputs, targets):
        right = accuracy(outputs, targets).double()
        return torch.stack([right[targets == c].mean().nan_to_num(0.0) for c in range(CLASSES)])

    for fn in (by_class, lambda o, y: by_class(o, y).tolist()):
        with pytest.raises(QuantStageError, match="3 values for 3 samples, and 3 values for 2"):
            known(fn, data=batches(63, size=3))
    with pytest.raises(QuantStageError, match="expected one score for each sample"):
        known(by_class, data=batches(64, size=4))


def test_what_a_metric_writes_into_its_arguments_reaches_nobody():
    def masked(outputs, targets):
        targets[targets == 2] = 0
        outputs[:, 2] = -1e9
        return outputs.argmax(1) == targets

    data = batches(64)
    before = [targets.clone() for _, targets in data]
    fp32 = admitted({"masked": masked, "top-1": Metric.top_k(1)}, data=data)
    inputs, targets = (torch.cat(part) for part in zip(*data, strict=True))
    named = inputs[:, :2].argmax(1)
    assert fp32.evaluation.values == {
        "masked": float((named == torch.where(targets == 2, 0, targets)).double().mean()),
        "top-1": 1.0,
    }
    assert all(torch.equal(was, now) for was, (_, now) in zip(before, data, strict=True))


class Tokens(torch.nn.Module):
    """[n, positions, 8] -> [n, positions, classes] or [n, classes, positions]."""

    def __init__(self, last=True):
        super().__init__()
        self.last = last

    def forward(self, x):
        return x[..., :CLASSES] if self.last else x[..., :CLASSES].transpose(1, 2)


def tokens(*lengths, samples=8):
    generator = torch.Generator().manual_seed(3)
    drawn = [torch.randn(samples, length, 8, generator=generator) for length in lengths]
    return [(x, x[..., :CLASSES].argmax(-1)) for x in drawn]


def test_as_many_positions_as_classes_are_an_error_unless_another_batch_tells():
    for last in (True, False):
        with pytest.raises(QuantStageError, match=r"as many classes as positions.*argmax\(-1\)"):
            known(None, model=Tokens(last), data=tokens(3, 3))
    assert known(None, model=Tokens(last=False), data=tokens(3, 5))[0] is True


def test_a_perplexity_of_its_own_inputs_asks_for_the_shift():
    class Model(torch.nn.Module):
        def forward(self, ids):
            return F.one_hot((ids + 1) % 7, 7).float()

    ids = (torch.arange(12)[:, None] + torch.arange(5)) % 7
    labels = ids.clone()
    labels[:, 3:] = -100  # padding does not hide it
    for given in (ids, labels):
        with pytest.raises(QuantStageError, match=r"write Metric.perplexity\(shift=1\)"):
            known(Metric.perplexity(), model=Model(), data=[(ids, given)])
        fp32 = admitted(Metric.perplexity(shift=1), model=Model(), data=[(ids, given)])
        nats = F.cross_entropy(
            Model()(ids)[:, :-1].transpose(1, 2), given[:, 1:], ignore_index=-100
        )
        assert fp32.evaluation.values["perplexity"] == pytest.approx(float(nats))
    assert known(Metric.perplexity(shift=0), model=Model(), data=[(ids, ids)])[0] is False
    ahead = (ids + 1) % 7  # shifted already
    assert known(Metric.perplexity(), model=Model(), data=[(ids, ahead)])[0] is False
