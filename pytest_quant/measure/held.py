"""Held: tensors that a model computes with and has not registered: in plain attributes, lists, closures.

No state dict has them. What a call leaves behind, as the last activations, is none of them: it is written
and not read.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from pytest_quant.machine import torch_api
from pytest_quant.measure.operator_macs import leaves_of, place_of
from pytest_quant.subject.batches import tensors_in
from pytest_quant.subject.fingerprint import parts_of
from pytest_quant.subject.named import PLAIN, Perhaps
from pytest_quant.variant.tensors import plain_tensors, state_of, tensors_of
from pytest_quant.variant.variant import Variant

ATEN = torch.ops.aten
LITERALS = (ATEN.lift_fresh, ATEN.lift_fresh_copy)  # of numbers in the code


def unregistered(variant: Variant) -> list[Any]:
    """The tensors that a variant's module reads in a call for the first eval batch and that are neither its
    parameters nor its buffers; packed weights among them.

    Of a module that is compiled, or whose operators cannot be seen, its plain attributes, read or not.
    """
    return variant.once("unregistered", lambda: _unregistered(variant))


def places_read(variant: Variant) -> frozenset[int] | None:
    """Where the tensors lie that the same call reads and has not made itself; None where it is not seen."""
    return variant.once("places read", lambda: _places_read(variant))


def _unregistered(variant: Variant) -> list[Any]:
    model, read = variant.model, places_read(variant)
    with variant.running(), torch.inference_mode(False):
        if read is None:
            return [tensor for _, tensor in plain_tensors(model)]
        own = state_of(model)
        known = {place_of(tensor) for tensor in tensors_of(own)}
        known |= {place_of(tensor) for tensor in model.buffers()}
        known |= {place_of(tensor) for tensor in tensors_in(variant.admitted.first_inputs)}
        packed = {id(value) for value in own.values()} | set(map(id, _packed_in(model)))
        found = [each for each in _reachable(model) if id(each) not in packed]
        tensors = [each for each in found if isinstance(each, torch.Tensor)]
        left = [each for each in tensors if place_of(each) in read - known]
        if not variant.facts.is_known:  # of ours all are in the state dict
            objects = [each for each in found if not isinstance(each, torch.Tensor)]
            left += [part for each in objects for part in _unpacked(each)]
        return left


def _packed_in(model: Any) -> Iterator[Any]:
    """What modules with a state dict of their own hold but for tensors, such as a recurrent cell's biases,
    which it is called with and does not save."""
    usual = torch.nn.Module._save_to_state_dict
    for child in model.modules():
        if type(child)._save_to_state_dict is not usual:
            yield from (each for each in vars(child).values() if not isinstance(each, torch.Tensor))


def _unpacked(packed: Any) -> list[Any]:
    try:
        return list(tensors_of(packed))
    except RuntimeError:  # of what TorchScript has made, and does not show
        return []


def _places_read(variant: Variant) -> frozenset[int] | None:
    model = variant.model
    if variant.facts.is_compiled or not isinstance(model, torch.nn.Module):
        return None
    if any(map(torch_api.is_compiled, model.modules())):
        return None
    reads = _Reads()
    try:
        with variant.isolated(), variant.running(), reads:
            variant.forward(variant.admitted.first_inputs)
    except Exception:  # as of operators that take no such look
        return None
    return frozenset(reads.read) - {0}


class _Reads(torch_api.operator_mode()):  # type: ignore[misc]
    """While entered, gathers the places of tensors that operators take and no operator has made."""

    def __init__(self) -> None:
        super().__init__()
        self.read = set[int]()
        self.made = set[int]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        given = {place_of(tensor) for tensor in _tensors((args, kwargs))}
        if func.overloadpacket not in LITERALS:
            self.read |= given - self.made
        self.made |= {place_of(tensor) for tensor in _tensors(output)} - given
        return output


def _tensors(value: Any) -> Iterator[Any]:
    return (leaf for leaf in leaves_of(value) if isinstance(leaf, torch.Tensor))


def _reachable(model: Any) -> Iterator[Any]:
    """Each tensor, array and packed weight that a module holds, whatever in."""
    seen, left = dict[int, Any](), [model]
    while left:
        value = left.pop()
        value = value.value if isinstance(value, Perhaps) else value
        if type(value) in PLAIN or id(value) in seen:
            continue
        seen[id(value)] = value
        if isinstance(value, np.ndarray):
            yield from _shared(value)
        elif isinstance(value, torch.Tensor | torch.ScriptObject):
            yield value
        else:
            left += _parts(value)


def _shared(array: Any) -> Iterator[Any]:
    """A tensor in the memory of an array; nothing for one that PyTorch cannot take."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it must not be written to
        try:
            yield torch.from_numpy(array)
        except (TypeError, ValueError):
            return


def _parts(value: Any) -> list[Any]:
    try:
        return list(value if isinstance(value, set | frozenset) else parts_of(value))
    except Exception:  # of what is half made, or shows no parts
        return []
