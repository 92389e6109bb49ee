"""Choice: which flow and engine were found for a recipe that leaves them open."""

from dataclasses import dataclass, replace

from pytest_quant.variant.recipe import Recipe
from pytest_quant.variant.variant import Variant

WEIGHED = "flows weighed"  # under which a variant keeps that others were tried


@dataclass(frozen=True, slots=True)
class Choice:
    """What was found, which is decided once for a run and all its workers, and kept for the next.

    Args:
        flow, engine: to build with.
        note: how it was found, for the report.
        others_tried: whether other flows were weighed against it.
    """

    flow: str
    engine: str | None
    note: str | None = None
    others_tried: bool = False

    def recipe(self, asked: Recipe) -> Recipe:
        """The recipe with what was found."""
        return replace(asked, flow=self.flow, engine=self.engine, runtimes=())

    def tell(self, variant: Variant) -> None:
        """Note it on the variant that was built so."""
        if self.others_tried:
            variant.keep(WEIGHED, True)
        if self.note is not None:
            variant.notes.append(self.note)
