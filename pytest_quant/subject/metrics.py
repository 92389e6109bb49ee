"""Metric: how good a model's outputs are, for one sample, a batch or the whole set."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_quant.subject.argument_order import refuse_targets_first
from pytest_quant.subject.perplexity import Nll, perplexity_of, rise_of
from pytest_quant.subject.positives import Naming, Precision, Recall
from pytest_quant.subject.top_k import TopK

UNITS = ("fraction", "raw", "perplexity")


@dataclass(frozen=True, slots=True)
class Metric:
    """What `quant_metric` may return, alone or in a dict of several.

    Args:
        fn: one of

            * a function of (outputs, targets) that returns a tensor of shape [batch], one score
              for each sample (best: models are then compared sample by sample);
            * one that returns a single number, the batch's mean (weighted by batch size);
            * an object with ``update(outputs, targets)``, ``compute()`` and ``reset()``, as in
              torchmetrics; a copy of it is used.
        name: the row's name in the report.
        higher_is_better: False for a loss or an error rate; a drop is then a rise. None: it is
            measured on FP32, whose outputs are scored against the targets of other samples too.
        unit: ``fraction`` for scores in [0, 1], shown as per cent, their drop in points;
            ``perplexity`` for negative log likelihoods in nats, shown as exp(mean), whose limit is
            the relative rise of the perplexity (0.01: one per cent); ``raw`` for everything else.
            None: ``fraction`` where higher is better and no outputs of FP32 score outside [0, 1],
            against whatever targets; else ``raw``.

    Raises:
        TypeError, ValueError: at construction, naming what was given.
    """

    fn: Any
    name: str
    higher_is_better: bool | None = field(default=None, kw_only=True)
    unit: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not (callable(self.fn) or self.is_accumulator):
            raise TypeError(
                f"Metric: fn is {self.fn!r}; expected a function of (outputs, targets) or an object "
                "with update, compute and reset"
            )
        if not isinstance(self.name, str) or not self.name:
            raise TypeError(
                f"Metric: name is {self.name!r}; expected a string, as in Metric(fn, 'top-5')"
            )
        refuse_targets_first(self.fn, self.name)
        if self.unit not in (*UNITS, None):
            raise ValueError(f"Metric: unit is {self.unit!r}; allowed: {', '.join(UNITS)}")
        if self.higher_is_better not in (True, False, None):
            raise TypeError(
                f"Metric: higher_is_better is {self.higher_is_better!r}; expected True, False or None"
            )
        if self.unit == "perplexity" and self.higher_is_better:
            raise ValueError(
                "Metric: higher_is_better is True for unit='perplexity', of which lower is better"
            )

    @property
    def is_accumulator(self) -> bool:
        """Whether ``fn`` gathers batches and computes one number at the end."""
        return all(
            callable(getattr(self.fn, name, None)) for name in ("update", "compute", "reset")
        )

    @property
    def is_ours(self) -> bool:
        """Whether it is one of those below, whose direction and unit need no proof."""
        return isinstance(self.fn, TopK | Nll | Recall | Precision)

    @classmethod
    def top_k(cls, k: int = 1, *, ignore_index: int = -100) -> "Metric":
        """Accuracy: the share of samples whose target is among the k highest outputs.

        Outputs are of shape [batch, classes], or [batch, classes, ...] with targets [batch, ...],
        whose positions are averaged for each sample; an output object's ``logits`` are taken.

        Args:
            k: from 1, below the number of classes.
            ignore_index: target of positions that do not count, as in PyTorch's losses; a sample of
                which none counts has no score.

        Raises:
            ValueError: k is no whole number from 1.
        """
        if not isinstance(k, int) or isinstance(k, bool) or k < 1:
            raise ValueError(f"Metric.top_k: k is {k!r}; expected a whole number from 1 on")
        name = "top-1" if k == 1 else f"top-{k}"
        return cls(TopK(k, ignore_index), name, higher_is_better=True, unit="fraction")

    @classmethod
    def perplexity(cls, ignore_index: int = -100, *, shift: int | None = None) -> "Metric":
        """Perplexity of a language model: exp of the mean over samples of a sample's mean negative
        log likelihood.

        Outputs are of shape [batch, positions, classes], or an object or dict with such ``logits``;
        targets are of shape [batch, positions].

        Args:
            ignore_index: target of positions that do not count; a sample of which none counts has no
                score.
            shift: 1 where targets are the input ids, so that each position's outputs are scored
                against the next one's target; 0 where targets are shifted already. It has to be said
                where targets equal inputs.

        Raises:
            ValueError: shift is no whole number from 0.
        """
        if shift is not None and (not isinstance(shift, int) or shift < 0):
            raise ValueError(f"Metric.perplexity: shift is {shift!r}; expected 0 or 1")
        nll = Nll(ignore_index, None if shift is None else int(shift))
        return cls(nll, "perplexity", higher_is_better=False, unit="perplexity")

    @classmethod
    def recall(cls, positive: int = 1) -> "Metric":
        """Recall: the share of the positive samples that the model finds, by its highest output.

        Outputs are of shape [batch, classes], targets of shape [batch]. It is a mean over the positive
        samples, so that models are compared sample by sample, and ``max_drop=0.005`` lets misses rise by
        half a point. Target -100 does not count.

        Args:
            positive: the class that is to be found.

        Raises:
            ValueError: positive is no whole number from 0.
        """
        naming = _naming("Metric.recall", positive=positive)
        return cls(Recall(naming), _of_class("recall", positive), **_SHARE)

    @classmethod
    def recall_at(cls, threshold: float) -> "Metric":
        """Recall of a model with one output a sample, which is positive from this threshold on.

        Outputs are of shape [batch] or [batch, 1], targets 0 and 1 of either shape; target -100 does
        not count.

        Args:
            threshold: in the unit of the outputs: 0.0 of logits is 0.5 of probabilities.

        Raises:
            ValueError: threshold is no finite number.
        """
        naming = _naming("Metric.recall_at", threshold=threshold)
        return cls(Recall(naming), f"recall at {threshold:g}", **_SHARE)

    @classmethod
    def precision(cls, positive: int = 1) -> "Metric":
        """Precision: the share of the samples that the model names positive that are, as `recall`.

        It is a ratio of two counts that both depend on the model. So it is judged on the eval set as a
        whole, exactly, and not sample by sample: there are no flips of it, no slices and no population.
        It is 0 of a variant that names none positive.

        Args:
            positive: the class that is to be found.

        Raises:
            ValueError: positive is no whole number from 0.
        """
        naming = _naming("Metric.precision", positive=positive)
        return cls(Precision(naming), _of_class("precision", positive), **_SHARE)

    @classmethod
    def precision_at(cls, threshold: float) -> "Metric":
        """Precision of a model with one output a sample, as `recall_at`.

        Args:
            threshold: in the unit of the outputs: 0.0 of logits is 0.5 of probabilities.

        Raises:
            ValueError: threshold is no finite number.
        """
        naming = _naming("Metric.precision_at", threshold=threshold)
        return cls(Precision(naming), f"precision at {threshold:g}", **_SHARE)

    def shown(self, value: float) -> str:
        """A value for people: ``98.52 %`` or ``0.1234``."""
        if self.unit == "perplexity":
            return f"{perplexity_of(value):.4g}"
        return f"{value:.4g}" if self.unit == "raw" else f"{100 * value:.2f} %"

    def shown_change(self, change: float) -> str:
        """A difference for people, with its sign if it is negative: ``0.37 pt`` or ``0.0123``."""
        return f"{'-' if change < 0 else ''}{self.shown_amount(change)}"

    def shown_amount(self, change: float) -> str:
        """How large a difference is, whatever its sign."""
        if self.unit == "perplexity":
            return f"{100 * abs(rise_of(change)):.2f} %"
        amount = abs(change)
        return f"{amount:.4g}" if self.unit == "raw" else f"{100 * amount:.2f} pt"


_SHARE: dict[str, Any] = {"higher_is_better": True, "unit": "fraction"}


def _naming(who: str, **given: Any) -> Naming:
    if "threshold" in given and given["threshold"] is None:
        raise ValueError(f"{who}: threshold is None; expected a number in the unit of the outputs")
    try:
        return Naming(**given)
    except ValueError as error:
        raise ValueError(f"{who}: {error}") from None


def _of_class(name: str, positive: int) -> str:
    return name if positive == 1 else f"{name} of class {positive}"


def metrics_from(given: Any) -> tuple[Metric, ...]:
    """What the fixture `quant_metric` returned, as Metrics; the first one is the main one.

    Raises:
        TypeError: naming the fixture, what it returned and what is allowed.
    """
    if given is None:
        return (Metric.top_k(1),)
    if isinstance(given, Mapping):
        if not given:
            raise TypeError("quant_metric returned an empty dict; expected name -> metric")
        return tuple(_one_metric(value, str(name)) for name, value in given.items())
    return (_one_metric(given, None),)


def _one_metric(given: Any, name: str | None) -> Metric:
    if isinstance(given, Metric):
        return given if name is None else replace(given, name=name)
    own = getattr(given, "__name__", None) or type(given).__name__
    if isinstance(given, type):
        raise TypeError(
            f"quant_metric returned the class {own}; expected an object of it, as {own}(...) makes one"
        )
    try:
        return Metric(given, name or own, higher_is_better=_direction(given))
    except TypeError:
        raise TypeError(
            f"quant_metric returned {given!r}; expected a Metric, a function of (outputs, targets), "
            "an object with update, compute and reset, or a dict of these"
        ) from None


def _direction(given: Any) -> bool | None:
    """torchmetrics' objects say in ``higher_is_better`` which way is better; None is unknown."""
    said = getattr(given, "higher_is_better", None)
    return said if isinstance(said, bool) else None
