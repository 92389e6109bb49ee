"""Argument order: a metric that takes targets first, as scikit-learn's do, would score them the wrong way
round, often without an error."""

import inspect
from typing import Any

TARGETS = (
    "y_true", "true", "y", "target", "targets", "label", "labels", "gt", "ground_truth", "truth",
    "reference", "references", "labels_true",
)  # fmt: skip
OUTPUTS = (
    "y_pred", "y_score", "y_prob", "y_proba", "y_hat", "yhat", "pred", "preds", "prediction",
    "predictions", "output", "outputs", "logits", "score", "scores", "probas_pred", "labels_pred",
)  # fmt: skip


def refuse_targets_first(fn: Any, name: str) -> None:
    """A metric is called with outputs and targets, in this order.

    Args:
        fn: a function, or an object with ``update``.
        name: of the metric.

    Raises:
        ValueError: its parameters are named the other way round; says what to write.
    """
    is_object = callable(getattr(fn, "update", None))
    first, second = _names(fn.update if is_object else fn)
    if first not in TARGETS or second not in OUTPUTS:
        return
    remedy = f"lambda outputs, targets: {name}(targets, outputs)"
    if is_object:
        remedy = f"a metric whose update takes ({second}, {first})"
    raise ValueError(
        f"Metric: {name} takes ({first}, {second}), and a metric is called with (outputs, targets), so "
        f"that each would be taken for the other; give {remedy}"
    )


def _names(function: Any) -> tuple[str, str]:
    """Of the first two parameters; empty where these cannot be told."""
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return "", ""
    return (names[0].lower(), names[1].lower()) if len(names) > 1 else ("", "")
