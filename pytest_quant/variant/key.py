"""Key: what identifies a model and a variant in a report, whatever a person is shown of it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pytest_quant.variant.variant import Variant

ADDED = ("model_ids", "variant_ids")  # to the three names that files of version 1 have
BY_VALUE = "#"  # before ids that are a digest of what a store of one's own was given


class ModelKey(NamedTuple):
    """What identifies a model in a report.

    Args:
        where: the folder, file, class or test that it belongs to; empty for the whole repo.
        model: its name.
        model_ids: ids of the parameters of its inputs, which tell namesakes apart.
    """

    where: str
    model: str
    model_ids: str = ""

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> "ModelKey":
        """Of what names a model as plain data."""
        return cls(plain.get("where") or "", plain["model"], plain.get("model_ids") or "")

    def named(self) -> str:
        """For a person, on its own: the model with its ids and place."""
        name = f"{self.model}[{self.model_ids}]" if self.model_ids else self.model
        return f"{name} ({self.where})" if self.where else name

    def to_dict(self) -> dict[str, str]:
        """Plain JSON types; ids only where there are any."""
        return {name: part for name, part in self._asdict().items() if part or name not in ADDED}


class RowKey(NamedTuple):
    """What identifies a variant in a report.

    Args:
        where, model, model_ids: of its model.
        variant: its name.
        variant_ids: ids of the parameters of what it alone depends on, such as calibration data; without
            any, the place of such an input where that is nearer than the model's.
    """

    where: str
    model: str
    variant: str
    model_ids: str = ""
    variant_ids: str = ""

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> "RowKey":
        """Of a row, a verdict, a change, or what a test has looked at, as plain data."""
        ids = (plain.get(name) or "" for name in ADDED)
        return cls(plain["where"], plain["model"], plain["variant"], *ids)

    def named(self) -> str:
        """For a person, on its own: the model, with its place and ids, and the variant."""
        variant = f"{self.variant}[{self.variant_ids}]" if self.variant_ids else self.variant
        return f"{self.of_model.named()} {variant}"

    @property
    def of_model(self) -> ModelKey:
        """The model's key."""
        return ModelKey(self.where, self.model, self.model_ids)

    def to_dict(self) -> dict[str, str]:
        """Plain JSON types; ids only where there are any."""
        return {name: part for name, part in self._asdict().items() if part or name not in ADDED}


def key_of(variant: "Variant") -> RowKey:
    """What identifies a variant in a report."""
    subject = variant.subject
    return RowKey(subject.where, subject.label, variant.name, variant.fp32.model_ids, variant.ids)
