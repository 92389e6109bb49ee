"""As built: layers of a quantized model that can be put into the FP32 model, and the other way round.

That is how dynamic, weight-only and custom variants are looked into: their layers are modules under the
names that they have in FP32. An int8 layer that takes int8 inputs is given them.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from pytest_quant.machine import torch_api
from pytest_quant.quantize.flows.example import Example, calls_of
from pytest_quant.subject.batches import call, mapped
from pytest_quant.variant.sqnr import sqnr
from pytest_quant.variant.variant import Variant

ACT_TYPES = (torch.nn.ReLU, torch_api.batchnorm_base())


@dataclass(frozen=True, slots=True, eq=False)
class AsBuilt:
    """Layers that a variant and FP32 have under the same name, and that differ.

    Args:
        variant: whose.
        chains: name of a layer -> the names of what belongs to it in FP32: itself, then BatchNorm and
            ReLU where the variant has folded them into it.
    """

    variant: Variant
    chains: dict[str, tuple[str, ...]]

    def local_sqnr(self, inputs: Any) -> dict[str, float]:
        """For each layer the signal-to-noise ratio in dB of its output, on FP32's own inputs to it;
        layers that cannot be called so are left out."""
        fp32, own = self.variant.fp32.model, self.variant.model
        modules = {
            name: fp32.get_submodule(name) for chain in self.chains.values() for name in chain
        }
        calls = calls_of(modules, lambda: call(fp32, inputs, self.variant.subject.forward))
        found = {}
        with self.variant.running():
            for name, chain in self.chains.items():
                if not all(part in calls for part in chain):
                    continue
                reference = _through(fp32, chain, calls[name])
                outputs = _tried(lambda c=chain, n=name: _through(own, c, calls[n]))  # type: ignore[misc]
                if "ReLU" in type(_submodule(own, name)).__name__:
                    reference = torch.relu(reference)
                if outputs is not None:
                    found[name] = sqnr(reference, outputs)
        return found

    @contextmanager
    def alone(self, layer: str) -> Iterator[Any]:
        """In which FP32 has just this layer as the variant has it."""
        fp32, own = self.variant.fp32.model, self.variant.model
        with _with_modules(fp32, own, self.chains[layer]):
            yield fp32

    @contextmanager
    def without(self, kept: Collection[str]) -> Iterator[Any]:
        """In which the variant has these layers as FP32 has them."""
        fp32, own = self.variant.fp32.model, self.variant.model
        with _with_modules(own, fp32, [name for layer in kept for name in self.chains[layer]]):
            yield own


def as_built(variant: Variant) -> AsBuilt | None:
    """The layers of a variant that can be told apart; None where it has no modules to compare."""
    fp32, own = variant.fp32.model, variant.model
    if not isinstance(own, torch.nn.Module):
        return None
    names = [name for name, child in fp32.named_modules() if name and _is_layer(child)]
    chains = _chains(fp32, own, names)
    return AsBuilt(variant, chains) if chains else None


def _is_layer(module: Any) -> bool:
    own = any(True for _ in module.parameters(recurse=False))
    return own and not isinstance(module, torch_api.batchnorm_base())


def _chains(fp32: Any, own: Any, names: list[str]) -> dict[str, tuple[str, ...]]:
    leaves = [
        name for name, child in fp32.named_modules() if not any(True for _ in child.children())
    ]
    found = {}
    for name in names:
        mine = _submodule(own, name)
        if mine is None:
            continue
        chain = [name]
        for after in leaves[leaves.index(name) + 1 :][:2] if name in leaves else ():
            folded, there = _submodule(own, after), fp32.get_submodule(after)
            gone = folded is None or isinstance(folded, torch.nn.Identity)
            if not (isinstance(there, ACT_TYPES) and gone):
                break
            chain.append(after)
        if len(chain) > 1 or _differs(fp32.get_submodule(name), mine):
            found[name] = tuple(chain)
    return found


def _submodule(module: Any, name: str) -> Any | None:
    try:
        return module.get_submodule(name)
    except AttributeError:
        return None


def _differs(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return True
    pairs = zip(one.parameters(), other.parameters(), strict=False)
    return any(a.shape != b.shape or not torch.equal(a, b) for a, b in pairs)


def _through(model: Any, chain: tuple[str, ...], first: Example) -> Any:
    """The output of a layer and what belongs to it, as float."""
    parts = [part for name in chain if (part := _submodule(model, name)) is not None]
    try:
        outputs = parts[0](*first.args, **first.kwargs)
    except (RuntimeError, NotImplementedError, AttributeError):  # it takes int8
        args = mapped(first.args, _quantized)
        outputs = parts[0](*args, **mapped(first.kwargs, _quantized))
    for part in parts[1:]:
        outputs = part(outputs)
    return mapped(outputs, lambda t: t.dequantize() if t.is_quantized else t)


def _quantized(tensor: Any) -> Any:
    """In 7 bits, which any kernel takes without overflow."""
    if not tensor.is_floating_point():
        return tensor
    low, high = min(0.0, float(tensor.min())), max(0.0, float(tensor.max()))
    scale = max((high - low) / 127, 1e-12)
    return torch.quantize_per_tensor(tensor, scale, round(-low / scale), torch.quint8)


def _tried(run: Callable[[], Any]) -> Any | None:
    try:
        return run()
    except Exception:  # a layer with a call of its own is left out, and the explanation says so
        return None


@contextmanager
def _with_modules(model: Any, other: Any, names: Collection[str]) -> Iterator[None]:
    """For a while; a missing one becomes nothing, as where it is folded into what stands before it."""
    before = []
    try:
        for name in names:
            parent, _, attribute = name.rpartition(".")
            holder = _submodule(model, parent)
            if holder is None or attribute not in holder._modules:
                continue
            before.append((holder, attribute, holder._modules[attribute]))
            there = _submodule(other, name)
            holder._modules[attribute] = torch.nn.Identity() if there is None else there
        yield
    finally:
        for holder, attribute, module in reversed(before):
            holder._modules[attribute] = module
