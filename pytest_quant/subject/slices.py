"""Slices: the parts of the eval set by which losses are told, as `quant_slices` names them."""

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.machine.global_state import given_back
from pytest_quant.subject.scoring import own

EXPECTED = "expected a callable (inputs, targets) -> a list with a name for each sample of a batch"


def names_of(fn: Any, inputs: Any, targets: Any, size: int) -> list[str | None]:
    """The name of the slice that each sample of a batch is in; None for a sample that is in none.

    Whole numbers, bools and members of an enum are names by their text; NumPy arrays and tensors of
    whole numbers will do. The callable gets copies, so that what it writes into them reaches nobody.

    Args:
        fn: what `quant_slices` gave.
        inputs, targets: of the batch.
        size: its samples.

    Raises:
        QuantStageError: it is no callable, raises, or gives something else than `size` names.
    """
    given = _called(fn, inputs, targets)
    if hasattr(given, "tolist"):
        given = given.tolist()
    if isinstance(given, str | bytes | Mapping | set | frozenset) or not isinstance(
        given, Iterable
    ):
        raise QuantStageError("fixture", f"quant_slices gave {_shown(given)}; {EXPECTED}.")
    names = [_name(each) for each in given]
    if len(names) != size:
        raise QuantStageError(
            "fixture",
            f"quant_slices gave {len(names)} names for a batch of {size} samples; {EXPECTED}, None for "
            "a sample that is in no slice.",
        )
    return names


def check_names(fn: Any, inputs: Any, targets: Any, size: int) -> None:
    """Refuse a callable that gives no names, or others when it is asked again.

    Raises:
        QuantStageError: says what it gave.
    """
    if fn is None:
        return
    first, again = (names_of(fn, inputs, targets, size) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        if one != other:
            raise QuantStageError(
                "fixture",
                f"quant_slices names a sample {one!r}, and {other!r} when it is asked again: it "
                "remembers earlier batches, or is random. Let the name follow from the sample alone.",
            )


def _called(fn: Any, inputs: Any, targets: Any) -> Any:
    if not callable(fn):
        raise QuantStageError("fixture", f"quant_slices gave {_shown(fn)}; {EXPECTED}.")
    try:
        with given_back():  # whatever it sets of PyTorch
            given = fn(own(inputs), own(targets))
            return list(given) if hasattr(given, "__next__") else given
    except Exception as error:
        raise QuantStageError(
            "fixture", f"quant_slices raised on a batch of quant_eval_data: {in_brief(error)}"
        ) from error


def _name(given: Any) -> str | None:
    if hasattr(given, "item") and getattr(given, "ndim", None) == 0:
        given = given.item()
    if given is None:
        return None
    if not isinstance(given, str | int | Enum):
        raise QuantStageError(
            "fixture",
            f"quant_slices named a sample {_shown(given)}, a {type(given).__name__}; a name is a text, a "
            "whole number or a member of an enum, and None is for a sample that is in no slice.",
        )
    name = str(given)
    if not name.strip():
        raise QuantStageError(
            "fixture",
            "quant_slices named a sample by an empty text; give None for a sample that is in no slice.",
        )
    return name


def _shown(given: Any) -> str:
    text = " ".join(repr(given).split())
    return text if len(text) <= 80 else f"{text[:77]}..."
