"""Locate: the layers in which a variant loses what it loses."""

import time
from collections.abc import Iterator

from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.explain.lost.effects import effects_in_float, effects_in_place
from pytest_quant.explain.lost.explanation import Explanation
from pytest_quant.explain.lost.layer import Layer
from pytest_quant.explain.lost.sentences import sentences_on
from pytest_quant.explain.lost.simulate import loaders_of
from pytest_quant.explain.lost.simulation import in_float
from pytest_quant.explain.lost.telling_samples import SAMPLES, probe_of
from pytest_quant.variant.variant import Variant

SECONDS = 120.0  # layers that are not measured by then are ranked by their own noise


def explain(variant: Variant, *, samples: int = SAMPLES, seconds: float = SECONDS) -> Explanation:
    """Where a variant loses what it loses: its layers, ranked by what each alone costs the outputs.

    Of static and QAT variants each layer's rounding is simulated in float, alone and on FP32's own
    inputs, with ranges observed as the recipe says; layers of dynamic, weight-only and custom
    variants are put into FP32 as they are, one at a time. Noise is measured on eval data, so that
    ranges which calibration has missed show: on samples of the first batch and, where the variant was
    evaluated, on those whose score it changes most. Made once and kept.

    Args:
        variant: a quantized one.
        samples: at most, and no more than the first eval batch has.
        seconds: after which no further layer is measured by its effect on the outputs.

    Raises:
        TypeError: for FP32, and for what is no Variant.
        QuantStageError: when the model cannot be looked into; says why.
    """
    if not isinstance(variant, Variant) or variant.is_fp32:
        raise TypeError(f"explain was given {variant!r}; expected a quantized Variant")
    return variant.once("explanation", lambda: _kept(variant, samples, seconds), "explain")


def _kept(variant: Variant, samples: int, seconds: float) -> Explanation:
    """An earlier run's explanation of the very same variant; else one that is made, and kept if nothing
    was left out of it for want of time."""
    drawer = variant.drawer(f"explanation-{samples}")
    if (plain := drawer.get()) is not None:
        subject = variant.subject
        whose = {"variant": variant.name, "model": subject.label, "where": subject.where}
        return Explanation.from_dict({**plain, **whose})
    made = _explained(variant, samples, seconds)
    if not made.notes:
        drawer.put(made.to_dict())
    return made


def _explained(variant: Variant, samples: int, seconds: float) -> Explanation:
    start = time.perf_counter()
    probe = probe_of(variant, samples)
    with variant.isolated(loaders_of(variant)), in_float():
        variant.refuse_moved_fp32()
        try:
            if variant.facts.is_in_half:
                raise QuantStageError(
                    "explain", "a cast model has no layer that is quantized alone"
                )
            look = effects_in_float if variant.facts.is_observed else effects_in_place
            effects = look(variant, probe, start + seconds)
            explanation = Explanation(
                variant.name,
                variant.subject.label,
                variant.subject.where,
                effects.layers,
                effects.sqnr,
                effects.samples,
                time.perf_counter() - start,
                notes=tuple(_notes(effects.layers)),
                operations=effects.operations,
            )
            return sentences_on(explanation, variant)
        except QuantStageError:
            raise
        except Exception as error:
            raise QuantStageError(
                "explain", f"{variant.name} could not be looked into: {in_brief(error)}"
            ) from error


def _notes(layers: tuple[Layer, ...]) -> Iterator[str]:
    missing = sum(layer.effect is None for layer in layers)
    if not layers:
        yield "no convolution or Linear of the variant could be told apart"
    if missing:
        yield (
            f"the effect of {missing} of {len(layers)} layers on the outputs was not measured; they "
            "are ranked by the noise in their own output"
        )
