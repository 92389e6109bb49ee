"""Metric: how good a model's outputs are, for one sample, a batch or the whole set."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_quant.subject.perplexity import perplexity_of, rise_of

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
        higher_is_better: False for a loss or an error rate; a drop is then a rise.
        unit: ``fraction`` for scores in [0, 1], shown as per cent, their drop in points;
            ``perplexity`` for negative log likelihoods in nats, shown as exp(mean), whose limit is
            the relative rise of the perplexity (0.01: one per cent); ``raw`` for everything else.

    Raises:
        TypeError, ValueError: at construction, naming what was given.
    """

    fn: Any
    name: str
    higher_is_better: bool = field(default=True, kw_only=True)
    unit: str = field(default="fraction", kw_only=True)

    def __post_init__(self) -> None:
        if not (callable(self.fn) or self.is_accumulator):
            raise TypeError(
                f"Metric: fn is {self.fn!r}; a function of (outputs, targets) or an object with "
                "update, compute and reset is meant"
            )
        if not isinstance(self.name, str) or not self.name:
            raise TypeError(
                f"Metric: name is {self.name!r}; a text is meant, as in Metric(fn, 'top-5')"
            )
        if self.unit not in UNITS:
            raise ValueError(f"Metric: unit is {self.unit!r}; allowed: {', '.join(UNITS)}")

    @property
    def is_accumulator(self) -> bool:
        """Whether ``fn`` gathers batches and computes one number at the end."""
        return all(
            callable(getattr(self.fn, name, None)) for name in ("update", "compute", "reset")
        )

    @classmethod
    def top_k(cls, k: int = 1) -> "Metric":
        """Accuracy: the share of samples whose target is among the k highest outputs.

        Outputs are of shape [batch, classes], or [batch, classes, ...] with targets [batch, ...],
        whose positions are averaged for each sample; an output object's ``logits`` are taken.

        Raises:
            ValueError: k is no whole number from 1.
        """
        if not isinstance(k, int) or isinstance(k, bool) or k < 1:
            raise ValueError(f"Metric.top_k: k is {k!r}; a whole number from 1 is meant")
        return cls(_TopK(k), "top-1" if k == 1 else f"top-{k}")

    @classmethod
    def perplexity(cls, ignore_index: int = -100) -> "Metric":
        """Perplexity of a language model: exp of the mean over samples of a sample's mean negative
        log likelihood.

        Args:
            ignore_index: target of positions that do not count. Outputs are of shape
                [batch, positions, classes], or an object or dict with such ``logits``; targets are
                of shape [batch, positions], already shifted.
        """
        return cls(_Nll(ignore_index), "perplexity", higher_is_better=False, unit="perplexity")

    def shown(self, value: float) -> str:
        """A value for people: ``98.52 %`` or ``0.1234``."""
        if self.unit == "perplexity":
            return f"{perplexity_of(value):.4g}"
        return f"{100 * value:.2f} %" if self.unit == "fraction" else f"{value:.4g}"

    def shown_change(self, change: float) -> str:
        """A difference for people, with its sign if it is negative: ``0.37 pt`` or ``0.0123``."""
        return f"{'-' if change < 0 else ''}{self.shown_amount(change)}"

    def shown_amount(self, change: float) -> str:
        """How large a difference is, whatever its sign."""
        if self.unit == "perplexity":
            return f"{100 * abs(rise_of(change)):.2f} %"
        amount = abs(change)
        return f"{100 * amount:.2f} pt" if self.unit == "fraction" else f"{amount:.4g}"


@dataclass(frozen=True, slots=True)
class _TopK:
    k: int

    def __call__(self, outputs: Any, targets: Any) -> Any:
        import torch

        logits = logits_of(outputs)
        if not isinstance(logits, torch.Tensor) or logits.ndim < 2:
            raise TypeError(
                f"top-{self.k} accuracy needs outputs of shape [batch, classes], not {_shape(logits)}; "
                "override quant_metric for another kind of model"
            )
        if (
            not isinstance(targets, torch.Tensor)
            or targets.shape != logits.shape[:1] + logits.shape[2:]
        ):
            raise TypeError(
                f"top-{self.k} accuracy of outputs {_shape(logits)} needs targets of shape "
                f"{list(logits.shape[:1] + logits.shape[2:])} with class numbers, not {_shape(targets)}; "
                "override quant_metric for another kind of target"
            )
        best = logits.topk(min(self.k, logits.shape[1]), dim=1).indices
        hits = (best == targets.unsqueeze(1)).any(dim=1)
        return hits.flatten(1).double().mean(dim=1) if hits.ndim > 1 else hits


@dataclass(frozen=True, slots=True)
class _Nll:
    ignore_index: int

    def __call__(self, outputs: Any, targets: Any) -> Any:
        import torch

        logits = logits_of(outputs)
        if not isinstance(logits, torch.Tensor) or logits.ndim != 3:
            raise TypeError(
                f"perplexity needs outputs of shape [batch, positions, classes], not {_shape(logits)}"
            )
        losses = torch.nn.functional.cross_entropy(
            logits.double().transpose(1, 2),
            targets,
            reduction="none",
            ignore_index=self.ignore_index,
        )
        counted = (targets != self.ignore_index).sum(dim=1)
        return losses.sum(dim=1) / counted.clamp(min=1)


def logits_of(outputs: Any) -> Any:
    """The logits in a model's outputs: a tensor itself, an object's or dict's ``logits``."""
    if isinstance(outputs, Mapping):
        return outputs.get("logits", outputs)
    return getattr(outputs, "logits", outputs)


def metrics_from(given: Any) -> tuple[Metric, ...]:
    """What the fixture `quant_metric` returned, as Metrics; the first one is the main one.

    Raises:
        TypeError: naming the fixture, what it returned and what is allowed.
    """
    if given is None:
        return (Metric.top_k(1),)
    if isinstance(given, Mapping):
        if not given:
            raise TypeError("quant_metric returned an empty dict; name -> metric is expected")
        return tuple(_one_metric(value, str(name)) for name, value in given.items())
    return (_one_metric(given, None),)


def _one_metric(given: Any, name: str | None) -> Metric:
    if isinstance(given, Metric):
        return (
            given
            if name is None
            else Metric(given.fn, name, higher_is_better=given.higher_is_better, unit=given.unit)
        )
    own = getattr(given, "__name__", None) or type(given).__name__
    try:
        return Metric(given, name or own, higher_is_better=_direction(given))
    except TypeError:
        raise TypeError(
            f"quant_metric returned {given!r}; expected a Metric, a function of (outputs, targets), "
            "an object with update, compute and reset, or a dict of these"
        ) from None


def _direction(given: Any) -> bool:
    """torchmetrics' objects say in ``higher_is_better`` which way is better; None is unknown."""
    return getattr(given, "higher_is_better", None) is not False


def _shape(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return f"shape {list(shape)}" if shape is not None else type(value).__name__
