"""Explained: why a variant loses what it loses, kept in its row and read back from there."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_quant.errors import terminal_safe
from pytest_quant.explain.lost.explanation import Explanation
from pytest_quant.explain.lost.layer import Layer
from pytest_quant.explain.remedies.remedy import Remedy
from pytest_quant.report.text import MOST_NAME, MOST_SENTENCE, clipped
from pytest_quant.report.told_causes import causes_of_rows
from pytest_quant.variant.variant import Variant

if TYPE_CHECKING:
    from pytest_quant.explain.size.size_cause import Tensors
    from pytest_quant.explain.speed.slowness import Slowness
    from pytest_quant.report.document import Report

MOST_LINES = 60  # of code
PARTS = ("explanation", "remedy", "slowness", "tensors")
MOST = {
    "name": MOST_NAME,
    "layer": MOST_NAME,
    "type": MOST_NAME,
    "line": 2000,
}  # characters; others are sentences


class Explained(NamedTuple):
    """What was found out on one variant, fit to be shown; None for what was not.

    Args:
        model: its name to show.
        variant: the variant's.
        failed: whether a gate FAILed, so that its test has told most of this already.
        causes: of its gates that were not met, as the tests told them.
    """

    model: str
    variant: str
    failed: bool
    explanation: Explanation | None
    remedy: Remedy | None
    slowness: "Slowness | None"
    tensors: "Tensors | None"
    causes: Sequence[str] = ()

    @property
    def is_looked_into(self) -> bool:
        """Whether there is more than what its tests have told."""
        return any((self.explanation, self.remedy, self.slowness, self.tensors))


def cells_of(variant: Variant) -> dict[str, Any]:
    """What was found out on a variant, for its row; explains and runs nothing itself."""
    found = {name: variant.measured(name) for name in PARTS}
    cells = {name: None if known is None else known.to_dict() for name, known in found.items()}
    return {**cells, "work": variant.measured("work")}


def explained_of(report: "Report") -> list[Explained]:
    """The variants on which something was found out, those that FAILed first."""
    names, variants = report.model_names(), report.variant_names()
    verdicts, causes = report.verdicts_by_row(), causes_of_rows(report)
    found = []
    for row in report.rows:
        told = causes.get(row.key, [])
        if not told and not any(getattr(row, part) for part in PARTS):
            continue
        failed = any(verdict["outcome"] == "FAIL" for verdict in verdicts.get(row.key, ()))
        nouns = [_read(part, getattr(row, part)) for part in PARTS]
        name, variant = clipped(names[row.key.of_model]), clipped(variants[row.key])
        found.append(Explained(name, variant, failed, *nouns)._replace(causes=told))
    return sorted(found, key=lambda each: not each.failed)


def _read(part: str, plain: Mapping[str, Any] | None) -> Any:
    """The noun that a part of a row was made of, with every text on one printable line."""
    if not plain:
        return None
    noun, inner = _nouns(part)
    known = _known(noun, _printable(plain))
    for name, each in inner.items():
        known[name] = [_known(each, item) for item in known.get(name, ())]
    return noun.from_dict(known)


def _nouns(part: str) -> tuple[Any, dict[str, Any]]:
    """What a part is, and what is in its lists."""
    if part == "explanation":
        return Explanation, {"layers": Layer, "operations": Layer}
    if part == "remedy":
        return Remedy, {}
    if part == "slowness":
        from pytest_quant.explain.speed.operators import Operator
        from pytest_quant.explain.speed.slowness import Slowness, Stayed
        from pytest_quant.explain.speed.stretches import Stretch

        operators = {"operators": Operator, "fp32_operators": Operator}
        return Slowness, {**operators, "stretches": Stretch, "stayed": Stayed}
    from pytest_quant.explain.size.layer_bytes import LayerBytes
    from pytest_quant.explain.size.size_cause import Tensors

    return Tensors, {"held": LayerBytes}


def _known(noun: Any, plain: Mapping[str, Any]) -> dict[str, Any]:
    """Without what a later version has added."""
    return {field.name: plain[field.name] for field in fields(noun) if field.name in plain}


def _lines(code: Any) -> str:
    """Code keeps its lines."""
    shown = str(code).splitlines()[:MOST_LINES]
    return "\n".join(terminal_safe(line[: MOST["line"]]) for line in shown)


def _printable(value: Any, most: int = MOST_SENTENCE) -> Any:
    if isinstance(value, str):
        return clipped(value, most)
    if isinstance(value, Mapping):
        return {
            clipped(str(key)): (
                _lines(part) if key == "paste" else _printable(part, MOST.get(key, MOST_SENTENCE))
            )
            for key, part in value.items()
        }
    return [_printable(part, most) for part in value] if isinstance(value, list | tuple) else value
