"""Proposal: a candidate that was built as its recipe says, measured, and said in a line."""

from dataclasses import dataclass
from typing import Any

from pytest_quant.explain.remedies.as_python import as_python
from pytest_quant.explain.remedies.to_paste import to_paste
from pytest_quant.explain.remedies.trial import Limit
from pytest_quant.judge.honesty import why_refused
from pytest_quant.quantize.build import build
from pytest_quant.variant.recipe import Recipe
from pytest_quant.variant.variant import Variant

ROUNDS, ROUND_SECONDS = 5, 5.0  # of the speed-up that a line tells


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """A built candidate.

    Args:
        of: the variant that it mends.
        variant: as built.
        recipe: to build it again.
        kept: layers that it keeps FP32, beyond those of the variant that it mends.
        drop: on the eval data, in the metric's unit.
    """

    of: Variant
    variant: Variant
    recipe: Recipe
    kept: tuple[str, ...]
    drop: float = 0.0

    @property
    def is_quantized(self) -> bool:
        """Whether anything is left of it to ship."""
        return not why_refused(self.variant)

    def measured(self, limit: Limit) -> dict[str, Any]:
        """Its line, size and speed, and how to use it."""
        size = self.variant.size.tensor_bytes / self.variant.fp32.size.tensor_bytes
        pair = self.variant.pair()
        pair.add_rounds(ROUNDS, ROUND_SECONDS)
        text = as_python(self.recipe)
        drop = limit.shown(self.drop)
        line = (
            f"{text}  # drop {drop}, {1 / size:.2f}x smaller, {pair.ratio:.2g}x as fast, measured"
        )
        of = self.variant.admitted.metrics[0].name
        more = ["relative=True"] if limit.relative else []
        more += [] if limit.metric.name == of else [f'metric="{limit.metric.name}"']
        return {
            "line": line,
            "size_ratio": float(size),
            "speedup": float(pair.ratio),
            "paste": to_paste(
                self.recipe,
                self.of,
                "max_accuracy_drop",
                limit.max_drop,
                more=", ".join(more),
            ),
        }


def proposed(variant: Variant, recipe: Recipe, kept: tuple[str, ...]) -> Proposal:
    """Build a candidate beside the variant that it is to mend.

    Raises:
        QuantStageError: when it cannot be built.
    """
    built = build(variant.admitted, recipe, variant.conditions)
    made = variant.sibling("mended", built.module, built.recipe, tuned_on=built.tuned_on)
    return Proposal(variant, made, recipe, kept)
