"""Lengths: does a prepared model take all sizes that the data has, beyond that of a batch?"""

from itertools import islice
from typing import Any

from pytest_quant.errors import QuantStageError
from pytest_quant.quantize.flows.exported import Exported
from pytest_quant.quantize.flows.flow import FlowRefusal
from pytest_quant.subject.batches import call, each_batch, inputs_only, on_cpu
from pytest_quant.subject.subject import Admitted
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
    subject, why = admitted.subject, list[str | None]()
    tuning = ("quant_train_data", subject.train_data)
    if recipe.kind == "static" and subject.calibration_data is not None:
        tuning = ("quant_calibration_data", subject.calibration_data)

    def look(_: Any, args: Any, kwargs: Any) -> None:
        why.append(prepared.misfit(args, kwargs))
        raise _CalledError

    hook = admitted.module.register_forward_pre_hook(look, with_kwargs=True, prepend=True)
    try:
        for fixture, data in (("quant_eval_data", subject.eval_data), tuning):
            most = None if isinstance(data, list | tuple) else MOST
            batches = each_batch(data, fixture, subject.batch, like=admitted.first_inputs)
            for batch in islice(batches, most) if data is not None else ():
                try:
                    inputs = on_cpu(inputs_only(batch, fixture, subject.batch))
                    call(admitted.module, inputs, subject.forward)
                except _CalledError:
                    if why[-1]:
                        break
            if why and why[-1]:
                break
    except QuantStageError:  # told where the data is read for its own sake
        return
    finally:
        hook.remove()
    if why and why[-1]:
        raise FlowRefusal(
            "prepare",
            recipe.flow,
            f"takes inputs of shape {why[-1]}, which {fixture} has too: in its trace these sizes are "
            "constants",
            "Take flow parts, which takes all sizes, or give all inputs one size.",
        )
