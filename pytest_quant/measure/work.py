"""Work: which kinds of layers FP32's multiply-adds are in."""

from typing import Any

from pytest_quant.machine import torch_api
from pytest_quant.measure.one_call import multiply_adds
from pytest_quant.variant.variant import Variant

LAYER_KINDS = ("convolution", "linear", "recurrent", "attention")


def work_of(variant: Variant) -> dict[str, float] | None:
    """Shares of FP32's multiply-adds for the first eval batch, by kind of layer.

    Counted once and kept with FP32.

    Returns:
        ``convolution``, ``linear``, ``recurrent`` and ``attention``, each in [0, 1], together 1; a
        kind that the model has not is 0. Attention's are its projections, not the products of what
        they give. None for a model that has no such layers.
    """
    return variant.fp32.once("work", lambda: _shares(variant.fp32))


def kind_of(module: Any) -> str | None:
    """Which of the kinds a layer of FP32 is; None for any other module."""
    import torch

    nn = torch.nn
    if isinstance(module, torch_api.attention_linear()):
        return "attention"
    classes: dict[str, Any] = {
        "convolution": torch_api.convolution_base(),
        "linear": nn.Linear,
        "recurrent": (nn.RNNBase, nn.RNNCellBase),
        "attention": nn.MultiheadAttention,
    }
    return next((kind for kind in LAYER_KINDS if isinstance(module, classes[kind])), None)


def _shares(fp32: Variant) -> dict[str, float] | None:
    counts = dict.fromkeys(LAYER_KINDS, 0)
    for name, macs in multiply_adds(fp32).items():
        kind = kind_of(fp32.model.get_submodule(name))
        if kind is not None:
            counts[kind] += macs
    total = sum(counts.values())
    return {kind: count / total for kind, count in counts.items()} if total else None
