"""Measurements: the numbers that are known of a variant, and who measures them."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pytest_quant.machine.cell import Cell
from pytest_quant.machine.conditions import Conditions
from pytest_quant.variant.evaluation import BatchScores, Evaluation
from pytest_quant.variant.facts import Facts
from pytest_quant.variant.recipe import Recipe
from pytest_quant.variant.rounds import Pair

if TYPE_CHECKING:
    from pytest_quant.variant.variant import Variant

MB = 10**6  # bytes
OWN = "the model's own parameters"  # of which no module below it is told


@dataclass(frozen=True, slots=True)
class Size:
    """What a model weighs.

    Args:
        tensor_bytes: of all parameters, buffers and packed weights, each storage once.
        file_bytes: of ``torch.save(model.state_dict())``; None where a callable has none.
    """

    tensor_bytes: int
    file_bytes: int | None

    @property
    def mb(self) -> float:
        """Tensor bytes in 10**6 bytes."""
        return self.tensor_bytes / MB

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"tensor_bytes": self.tensor_bytes, "file_bytes": self.file_bytes}


@dataclass(frozen=True, slots=True)
class Int8Share:
    """What became int8.

    Args:
        parameters: share of FP32's parameters that are stored in fewer bits, in [0, 1]; None where
            it cannot be known (a callable of a custom recipe).
        macs: share of FP32's multiply-adds in modules that became int8, in [0, 1]; None where
            modules cannot be mapped.
        stayed_fp32: the user's names of modules with weights that stayed FP32; empty of the model itself.
    """

    parameters: float | None
    macs: float | None
    stayed_fp32: tuple[str, ...]

    @property
    def stayed(self) -> tuple[str, ...]:
        """The same for a person."""
        return tuple(name or OWN for name in self.stayed_fp32)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "parameters": self.parameters,
            "macs": self.macs,
            "stayed_fp32": list(self.stayed_fp32),
        }


class Prefix(Protocol):
    """Scores on the first batches of the eval data in a random order, scored as far as somebody asks.

    Attributes:
        samples: in the whole set.
        seed: of the order.
    """

    samples: int
    seed: int

    @property
    def seen(self) -> int:
        """Samples scored so far."""

    def batch(self, index: int) -> BatchScores:
        """The scores of one batch, evaluated when it is first asked for."""

    def evaluation(self) -> Evaluation:
        """What is known so far, as an Evaluation of the samples seen."""


@dataclass(frozen=True, slots=True)
class Drawer:
    """Where the cache keeps one thing that was found out of a variant.

    Args:
        read: the entry that is there; None for nothing.
        write: keep an entry for the next run: tensors, numbers and texts, in dicts and lists.
    """

    read: Callable[[], Mapping[str, Any] | None]
    write: Callable[[Mapping[str, Any]], None]

    def get(self) -> Any:
        """What `put` has kept; None for nothing."""
        content = self.read()
        return None if content is None else json.loads(content["plain"])

    def put(self, plain: Any) -> None:
        """Keep plain JSON types."""
        self.write({"plain": json.dumps(plain)})


EVALUATED_WHOLE = (
    "why its data is evaluated whole"  # and no part of it; under which a variant knows that
)
NO_DRAWER = Drawer(lambda: None, lambda content: None)


@dataclass(frozen=True, slots=True)
class Measures:
    """How a variant is measured and saved, and the facts of a recipe; handed in, so that it knows no room
    to its right."""

    evaluate: Callable[["Variant"], Evaluation]
    size: Callable[["Variant"], Size]
    int8_share: Callable[["Variant"], Int8Share]
    pair: Callable[["Variant", str, Cell | None], Pair]
    format_gain: Callable[["Variant", Cell | None], float]
    prefix: Callable[["Variant"], Prefix | None]
    save: Callable[["Variant", str | Path], Path]
    export: Callable[["Variant", str | Path], Path]
    facts: Callable[[Recipe], Facts]
    conditions: Conditions
    kept: Callable[["Variant", str], "Drawer"] = lambda variant, what: NO_DRAWER
