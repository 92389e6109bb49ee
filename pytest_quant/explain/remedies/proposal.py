"""Proposal: a candidate that was built as its recipe says, measured, and said in a line."""

from dataclasses import dataclass
from typing import Any

from pytest_quant.explain.remedies.as_python import as_python
from pytest_quant.explain.remedies.limit import Limit
from pytest_quant.explain.remedies.to_paste import to_paste
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
        value: that the limit is on, measured.
    """

    of: Variant
    variant: Variant
    recipe: Recipe
    kept: tuple[str, ...]
    value: float = 0.0

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
        line = (
            f"{text}  # {limit.shown(self.value)}, {1 / size:.2f}x smaller, {pair.ratio:.2g}x as fast, "
            "measured"
        )
        return {
            "line": line,
            "size_ratio": float(size),
            "speedup": float(pair.ratio),
            "paste": to_paste(
                self.recipe,
                self.of,
                limit.gate,
                limit.most,
                more=", ".join(limit.arguments),
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
