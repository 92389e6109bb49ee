"""Lengths: does a prepared model take all sizes that the data has, beyond that of a batch?"""

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

from pytest_quant.errors import QuantStageError
from pytest_quant.quantize.flows.exported import Exported
from pytest_quant.quantize.flows.flow import FlowRefusal
from pytest_quant.subject.batches import call, each_batch, inputs_only, on_cpu
from pytest_quant.subject.subject import Admitted, Subject
from pytest_quant.variant.recipe import Recipe

MOST = 16  # batches of a loader that are looked at; of a list all


class _CalledError(Exception):
    """Raised in the model's place."""


def refuse_other_lengths(prepared: Any, admitted: Admitted, recipe: Recipe) -> None:
    """Look at the data's shapes before a model is calibrated or trained that may be bound to some of them.

    Args:
        prepared: of flow pt2e, which notes what it sees; others are bound to none.

    Raises:
        FlowRefusal: the data has others.
    """
    if not isinstance(prepared, Exported):
        return
    subject, found = admitted.subject, list[str | None]()

    def look(_: Any, args: Any, kwargs: Any) -> None:
        try:
            misfit = prepared.misfit(args, kwargs)
            found.append(misfit and f"takes {misfit}")
        except TypeError as error:
            found.append(f"cannot take all calls ({error})")
        raise _CalledError

    def looked_at(fixture: str, data: Any) -> Iterator[str | None]:
        most = None if isinstance(data, list | tuple) else MOST
        batches = each_batch(data, fixture, subject.batch, like=admitted.first_inputs)
        for batch in islice(batches, most):
            inputs = on_cpu(inputs_only(batch, fixture, subject.batch))
            with suppress(_CalledError):
                call(admitted.module, inputs, subject.forward)
            yield found[-1] if found else None

    hook = admitted.module.register_forward_pre_hook(look, with_kwargs=True, prepend=True)
    try:
        for fixture, data in _used(subject, recipe):
            if why := next(filter(None, looked_at(fixture, data)), None):
                break
        else:
            return
    except QuantStageError:  # told where the data is read for its own sake
        return
    finally:
        hook.remove()
    raise FlowRefusal(
        "prepare",
        recipe.flow,
        f"{why}, which {fixture} has too: in its trace these are constants",
        "Take flow parts, which takes all, or give all inputs one size.",
    )


def _used(subject: Subject, recipe: Recipe) -> Iterator[tuple[str, Any]]:
    """The data that a variant will run on."""
    yield "quant_eval_data", subject.eval_data
    if recipe.kind == "static" and subject.calibration_data is not None:
        yield "quant_calibration_data", subject.calibration_data
    elif recipe.kind != "dynamic" and subject.train is None and subject.train_data is not None:
        yield "quant_train_data", subject.train_data
