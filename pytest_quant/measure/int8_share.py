"""int8 share: how much of a model is stored in, and computes with, fewer bits than FP32."""

from collections.abc import Iterator
from typing import Any

from pytest_quant.machine import torch_api
from pytest_quant.measure.narrower import is_share_known, narrower, tensors_held
from pytest_quant.measure.one_call import one_call
from pytest_quant.variant.measurements import Int8Share
from pytest_quant.variant.tensors import plain_tensors, state_of, tensors_of, unique
from pytest_quant.variant.variant import Variant


def measure_int8_share(variant: Variant) -> Int8Share:
    """The share of parameters and multiply-adds that became int8, of what a call uses."""
    import torch

    module, call = variant.fp32.model, one_call(variant)
    owners = tuple(_weighted(module))
    if variant.is_fp32:
        return Int8Share(0.0, 0.0, owners)
    if not isinstance(variant.model, torch.nn.Module):
        return Int8Share(None, None, ())
    with variant.running(), torch.inference_mode(False):  # in which wrappers cannot be detached
        fewer_bits = in_fewer_bits(variant.model, module, call.idle)
        if not (variant.facts.is_known or is_share_known(variant.model, module, fewer_bits)):
            return Int8Share(None, None, ())
        functions = functional_int8(variant.model)
        own = getattr(variant.model, "int8_modules", None)  # of a graph, which has no modules left
        if own is None:
            own = {name for name in owners if _became_int8(variant.model, module, name, owners)}
        else:
            functions |= own
        became = (own | functions) & set(owners)
        # what computes in int8 when it is called and in float when its weight is read is no int8 layer
        both = {name for name in became & call.layers.keys() if name in call.functions}
        became -= both - functions
        fewer_bits -= _counted_twice(module, became, variant.model)
    total = sum(p.numel() for name, p in module.named_parameters() if not call.is_idle(name))
    parameters = min(1.0, fewer_bits / total) if total else 0.0
    macs = sum(call.layers.get(name, 0) for name in became)
    macs += sum(call.functions.get(name, 0) for name in became & functions)
    known = call.total > 0 and (bool(became) or fewer_bits == 0)
    return Int8Share(
        parameters,
        macs / call.total if known else None,
        tuple(name for name in owners if name not in became and not _is_norm(module, name)),
    )


def _counted_twice(module: Any, became: set[str], model: Any) -> int:
    """What tied parameters add too much: they count once, and as int8 only if all their users are."""
    users: dict[int, list[str]] = {}
    tied = dict[int, Any]()
    for name, child in module.named_modules():
        for parameter in child.parameters(recurse=False):
            users.setdefault(id(parameter), []).append(name)
            tied[id(parameter)] = parameter
    narrow = [tensor.numel() for tensor in narrower(tensors_held(model), module)]
    too_many = 0
    for key, names in users.items():
        if len(names) < 2:
            continue
        count = int(tied[key].numel())
        in_int8 = [name for name in names if name in became]
        copies = min(len(in_int8), narrow.count(count))
        too_many += count * (copies - (len(in_int8) == len(names)))
    return max(0, too_many)


def functional_int8(model: Any) -> set[str]:
    """Names of the layers that are functions in a traced graph, and that it computes in int8."""
    return {
        f"{name}.{layer}" if name else layer
        for name, child in model.named_modules()
        for layer in getattr(child, "int8_functional", ())
    }


def in_fewer_bits(model: Any, fp32: Any = None, idle: tuple[str, ...] = ()) -> int:
    """How many parameters a module stores in fewer bits than FP32, or than float32.

    They are counted as elements of tensors. A submodule whose tensors hold more or fewer elements
    than parameters, such as two in a byte, says how many in an attribute `packed_parameters`.

    Args:
        model: a variant's.
        fp32: its FP32's, whose own narrow tensors do not count.
        idle: names of modules that no call uses, which are left out.
    """
    packed, inside = dict[int, int](), tuple(f"{name}." for name in idle)
    for name, child in model.named_modules(remove_duplicate=False):
        if f"{name}.".startswith(tuple(f"{root}." for root in idle)):
            continue
        if (count := getattr(child, "packed_parameters", None)) is not None:
            packed[id(child)] = int(count)
            inside += (f"{name}." if name else "",)
    state = {key: value for key, value in state_of(model).items() if not key.startswith(inside)}
    tensors = [*tensors_of(state)]
    tensors += [tensor for name, tensor in plain_tensors(model) if not name.startswith(inside)]
    counted = sum(tensor.numel() for tensor in narrower(unique(tensors), fp32))
    return sum(packed.values()) + int(counted)


def _weighted(module: Any) -> Iterator[str]:
    """Names of the modules that own parameters of their own."""
    for name, child in module.named_modules():
        if any(True for _ in child.parameters(recurse=False)):
            yield name


def _became_int8(model: Any, fp32: Any, name: str, owners: tuple[str, ...]) -> bool:
    try:
        module = model.get_submodule(name)
    except AttributeError:
        return False
    prefix = f"{name}." if name else ""
    inner = tuple(
        owner[len(prefix) :] + "." for owner in owners if owner != name and owner.startswith(prefix)
    )
    state = {key: value for key, value in module.state_dict().items() if not key.startswith(inner)}
    own = [*tensors_of(state), *(t for n, t in plain_tensors(module) if not n.startswith(inner))]
    return bool(narrower(own, fp32.get_submodule(name)))


def _is_norm(module: Any, name: str) -> bool:
    """BatchNorm is folded into its convolution and vanishes; that is not staying FP32."""

    return isinstance(module.get_submodule(name), torch_api.batchnorm_base())
