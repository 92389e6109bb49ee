"""Faithful: does a prepared model, before anything is rounded, still compute what FP32 does?"""

from typing import Any

import torch

from pytest_quant.errors import QuantStageError
from pytest_quant.machine import torch_api
from pytest_quant.quantize.flows.flow import Flow, FlowRefusal
from pytest_quant.subject.batches import call, tensors_in
from pytest_quant.subject.subject import Admitted

CLOSE = 1e-2  # of the largest output; folding BatchNorm changes about a millionth of it


def refuse_another_model(prepared: Any, admitted: Admitted, flow: Flow) -> None:
    """Refuse what a flow has made another model of while it traced and fused.

    FX gives a layer that is called with and without a ReLU behind it the ReLU in both places, for
    example. Observers of a copy look on, so that those of the model itself see no eval data.

    Raises:
        FlowRefusal: when its outputs for the first eval batch are not FP32's.
    """
    with torch.no_grad():
        expected = list(
            tensors_in(call(admitted.module, admitted.first_inputs, admitted.subject.forward))
        )
        try:
            copied = flow.rehearsal(prepared)
            torch_api.round_nothing(copied)
            outputs = list(
                tensors_in(call(copied, admitted.first_inputs, admitted.subject.forward))
            )
        except QuantStageError:
            raise
        except Exception:  # whatever cannot run is refused where it is to run
            return
    if len(outputs) != len(expected) or not all(map(_is_close, expected, outputs)):
        raise FlowRefusal(
            "prepare",
            flow.NAME,
            "makes another model of quant_model: before anything is rounded, its outputs differ from "
            "FP32's",
            "A layer that is used in two ways, or tensors that are changed in place, may be the reason.",
        )


def _is_close(expected: Any, output: Any) -> bool:
    if not expected.is_floating_point() or not torch.isfinite(expected).all():
        return True
    if expected.shape != output.shape:
        return False
    if not expected.numel():
        return True
    return float((output - expected).abs().max()) <= CLOSE * float(expected.abs().max()) + 1e-6
