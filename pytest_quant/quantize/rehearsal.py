"""Rehearsal: a calibrated model that computes in float what its int8 kernels should."""

from typing import Any

import torch

from pytest_quant.machine import torch_api
from pytest_quant.quantize.flows.flow import Flow
from pytest_quant.quantize.layer_types import WEIGHTED
from pytest_quant.quantize.rounding import rounding


def rehearsed(prepared: Any, flow: Flow, trains: bool) -> Any:
    """A copy of a prepared model, in eval mode, that rounds as the converted one should.

    Args:
        prepared: calibrated, or trained with fake-quantize modules.
        flow: that prepared it.
        trains: whether fake-quantize modules do the rounding already.
    """
    copied = flow.rehearsal(prepared)
    if trains:
        torch_api.freeze_observers(copied)
        return copied
    with torch.no_grad():
        for layer in copied.modules():
            _round_weight(layer)
        for name, observer in torch_api.observing_modules(copied).items():
            owner, _, attribute = name.rpartition(".")
            rounds = rounding(observer)
            if rounds is not None:
                setattr(copied.get_submodule(owner), attribute, rounds)
    return copied


def _round_weight(layer: Any) -> None:
    """Round a layer's weight as its qconfig says; a fused layer's is that of what it begins with."""
    qconfig = getattr(layer, "qconfig", None)
    if qconfig is None or getattr(qconfig, "weight", None) is None:
        return
    fused = isinstance(layer, torch.nn.Sequential) and "intrinsic" in type(layer).__module__
    inner = layer[0] if fused else layer
    if type(inner).__name__ not in WEIGHTED:
        return
    observer = qconfig.weight()
    observer(inner.weight)
    rounds = rounding(observer)
    if rounds is not None:
        inner.weight.copy_(rounds(inner.weight))
