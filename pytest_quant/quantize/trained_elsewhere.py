"""Trained elsewhere: the state of a fake-quantized model is taken instead of training it here."""

from collections.abc import Mapping
from os import PathLike
from typing import Any

import torch

from pytest_quant.errors import QuantStageError, in_brief, listed
from pytest_quant.quantize.flows.flow import FlowRefusal
from pytest_quant.quantize.tuned import Tuned

SHOWN = 3  # names in a sentence
NOTE = (
    "what tuned it is not known: quant_qat_state was trained elsewhere, so that eval data may be among "
    "its inputs"
)


def take_state(prepared: Any, given: Any, flow: str) -> Tuned:
    """Load a trained state into a prepared model.

    Args:
        prepared: with fake-quantize modules.
        given: a state dict, or a file that ``torch.save`` wrote one to; tensors on any device.
        flow: that prepared the model.

    Raises:
        FlowRefusal: names or shapes are other ones than the prepared model's.
        QuantStageError: for something else than a state dict, or one that holds NaN.
    """
    state = _read(given)
    own = prepared.state_dict()
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    learned = {name for name, _ in prepared.named_parameters(remove_duplicate=False)}
    shapes = [
        f"{name} has shape {list(state[name].shape)} in place of {list(own[name].shape)}"
        for name in sorted(learned & state.keys())
        if state[name].shape != own[name].shape
    ]
    if missing or unknown or shapes:
        said = [f"{listed(missing, SHOWN, counted=True)} not there"] if missing else []
        said += [f"{listed(unknown, SHOWN, counted=True)} not known"] if unknown else []
        raise _unfit(flow, ", ".join([*said, *shapes[:SHOWN]]))
    broken = [name for name in sorted(learned) if not torch.isfinite(state[name]).all()]
    if broken:
        raise QuantStageError(
            "train",
            f"quant_qat_state holds NaN or infinity in {listed(broken, SHOWN, counted=True)}: its "
            "training diverged.",
        )
    try:
        prepared.load_state_dict(state)
    except Exception as error:
        raise _unfit(flow, in_brief(error)) from error
    return Tuned(notes=(NOTE,))


def _read(given: Any) -> dict[str, torch.Tensor]:
    what = type(given).__name__
    if isinstance(given, str | PathLike):
        what = f"the file {given}"
        try:
            given = torch.load(given, map_location="cpu", weights_only=True)
        except Exception as error:
            raise QuantStageError(
                "train",
                f"quant_qat_state names {what}, which cannot be read: {in_brief(error)}. Expected what "
                "torch.save(model.state_dict(), path) writes.",
            ) from error
    if not isinstance(given, Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in given.items()
    ):
        raise QuantStageError(
            "train",
            f"quant_qat_state is {what}; expected the state dict of a fake-quantized model (names and "
            "tensors), or the path of a file with one.",
        )
    return {name: tensor.detach().cpu() for name, tensor in given.items()}


def _unfit(flow: str, why: str) -> FlowRefusal:
    return FlowRefusal(
        "train",
        flow,
        f"prepares another model than quant_qat_state is of: {why}",
        "Give the state of a model that the same recipe prepared, as variant.fake_quantized has it, and "
        "name its flow: Recipe('qat', flow=...).",
    )
