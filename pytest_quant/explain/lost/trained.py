"""Trained: the float model that QAT has made of FP32, in the user's own structure."""

import copy
from typing import Any

import torch

from pytest_quant.machine import torch_api
from pytest_quant.subject.batches import call
from pytest_quant.variant.sqnr import sqnr
from pytest_quant.variant.variant import Variant

SAME = 60.0  # dB; folding BatchNorm into a convolution leaves more than 100


def trained_module(variant: Variant, names: tuple[str, ...]) -> Any | None:
    """A copy of FP32 with the weights that QAT has learned; None where these cannot be told apart.

    Which is known for sure: what QAT trained, with its rounding off, must give the copy's outputs.

    Args:
        variant: of kind qat.
        names: of the layers that became int8, all of which must be found.
    """
    module = copy.deepcopy(variant.fp32.model)
    own = module.state_dict()
    learned = _plain_state(variant.fake_quantized)
    taken = {name: learned[name] for name in own if name in learned}
    for name, tensor in learned.items():  # BatchNorm that is fused lives inside its convolution
        layer, _, rest = name.partition(".bn.")
        if rest and (norm := _norm_behind(module, layer)) is not None:
            taken[f"{norm}.{rest}"] = tensor
    wanted = {f"{name}.weight" for name in names if f"{name}.weight" in own}
    fits = all(tensor.shape == own[name].shape for name, tensor in taken.items())
    if not wanted <= taken.keys() or not fits:
        return None
    with torch.no_grad():
        module.load_state_dict({**own, **taken})
    return module.eval() if _is_what_was_trained(variant, module) else None


def _is_what_was_trained(variant: Variant, module: Any) -> bool:
    unrounded = copy.deepcopy(variant.fake_quantized)
    torch_api.round_nothing(unrounded)
    first, own = variant.admitted.first_inputs, variant.subject.forward
    with torch.inference_mode():
        return sqnr(call(unrounded, first, own), call(module, first, own)) > SAME


def _plain_state(prepared: Any) -> dict[str, Any]:
    """Float tensors by the user's names: an exported graph holds them one level deeper, a fused
    Linear or convolution inside what fuses it."""
    state: dict[str, Any] = {}
    for name, tensor in prepared.state_dict().items():
        if isinstance(tensor, torch.Tensor):
            plain = name.removeprefix("graph.")
            for inner in (".weight", ".bias"):
                if plain.endswith(f".0{inner}"):
                    state.setdefault(plain.removesuffix(f".0{inner}") + inner, tensor)
            state[plain] = tensor
    return state


def _norm_behind(module: Any, layer: str) -> str | None:
    """The BatchNorm that stands behind a layer in the order in which modules are declared."""
    names = [
        name for name, child in module.named_modules() if not any(True for _ in child.children())
    ]
    if layer not in names or names.index(layer) + 1 == len(names):
        return None
    after = names[names.index(layer) + 1]
    is_norm = isinstance(module.get_submodule(after), torch_api.batchnorm_base())
    return after if is_norm else None
