"""Conversion gap: what converting made of a trained model, on the samples that both have seen."""

import numpy as np

from pytest_quant.subject.metrics import Metric
from pytest_quant.variant.evaluation import Evaluation, counted
from pytest_quant.variant.variant import Variant


def note_conversion_gap(variant: Variant, own: Evaluation, before: Evaluation) -> None:
    """Note where the fake-quantized model scores otherwise; of a part always, since it is one.

    Args:
        own: the converted model's evaluation.
        before: the fake-quantized model's, on all of its samples or on some.
    """
    for metric in variant.admitted.metrics:
        if len(before) == len(own):
            was, now, where = before.values[metric.name], own.values[metric.name], ""
            if was == now:
                continue
        else:
            if (values := _on_part(metric, own, before)) is None:
                continue
            (was, now), where = values, f" on {len(before):,} of {len(own):,} samples"
        variant.notes.append(
            f"{metric.name} is {metric.shown(was)} fake-quantized and {metric.shown(now)} "
            f"converted{where}; the converted model is judged"
        )


def _on_part(metric: Metric, own: Evaluation, before: Evaluation) -> tuple[float, float] | None:
    """A metric before and after conversion on the part; None where it does not score each sample, or
    nothing of the part counts."""
    if metric.name not in own.scores or metric.name not in before.scores:
        return None
    was = counted(before.scores[metric.name])
    now = counted(own.scores[metric.name][np.isin(own.samples, before.samples)])
    return (float(was.mean()), float(now.mean())) if len(was) and len(now) else None
