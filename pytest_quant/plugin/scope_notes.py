"""Scope notes: which inputs are made anew for each test, told on the rows that they cost."""

from pytest_quant.plugin.origins import Origins
from pytest_quant.subject.inputs import SCOPE
from pytest_quant.variant.variant import Variant


def note_scopes(origins: Origins, fp32: Variant, variant: Variant) -> None:
    """Say which inputs of a variant are function-scoped, once on the row that they cost."""
    for each in variant.subject.inputs(variant.recipe.kind if variant.recipe else "fp32"):
        value = getattr(variant.subject, each.field)
        origin = None if value is None else origins.of(each.fixture, value)
        if origin is None or origin.fixture.scope != "function":
            continue
        whose = fp32 if each.kinds is None else variant
        what = "variants" if each.kinds is None else variant.name
        cost = (
            "it is created again and compared for each test"
            if origin.is_repeated
            else f"each test builds its own {what}"
        )
        note = f"{each.fixture} is function-scoped, so {cost}; give it scope='{SCOPE}'"
        if note not in whose.notes:
            whose.notes.append(note)
