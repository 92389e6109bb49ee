"""int8 share: how much of a model is stored in, and computes with, fewer bits than FP32."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from pytest_quant.machine import torch_api
from pytest_quant.measure.held import places_read, unregistered
from pytest_quant.measure.kernel_share import share_of_kernels
from pytest_quant.measure.narrower import (
    alike,
    is_share_known,
    is_wide_float,
    narrower,
    tensors_held,
)
from pytest_quant.measure.one_call import one_call
from pytest_quant.measure.operator_macs import place_of
from pytest_quant.runtimes.artefact import Artefact
from pytest_quant.variant.measurements import Int8Share
from pytest_quant.variant.tensors import (
    packed_in,
    parts_of,
    plain_tensors,
    state_of,
    tensors_of,
    unique,
    unsaved_in,
)
from pytest_quant.variant.variant import Variant


def measure_int8_share(variant: Variant) -> Int8Share:
    """The share of parameters and multiply-adds that became int8, of what a call uses."""
    import torch

    module, call = variant.fp32.model, one_call(variant)
    places = _places(module)
    owners = tuple(places)
    if variant.is_fp32:
        return Int8Share(0.0, 0.0, owners)
    if isinstance(variant.model, Artefact):
        return share_of_kernels(variant.model.told, call.total, module)
    if not isinstance(variant.model, torch.nn.Module):
        return Int8Share(None, None, ())
    with variant.running(), torch.inference_mode(False):  # in which wrappers cannot be detached
        held = unregistered(variant)
        given = [t for t in unregistered(variant.fp32) if isinstance(t, torch.nn.Parameter)]
        used = [p for name, p in module.named_parameters() if not call.is_idle(name)]
        used += given
        fewer_bits = in_fewer_bits(variant.model, module, call.idle, held)
        is_known = variant.facts.is_known or is_share_known(
            variant.model, module, fewer_bits, held, given
        )
        if not is_known:
            return Int8Share(None, None, ())
        functions = functional_int8(variant.model)
        own = getattr(variant.model, "int8_modules", None)  # of a graph, which has no modules left
        if own is None:
            in_int8 = _int8_places(variant.model, module, places)
        else:
            functions |= own
            in_int8 = set[str]()
        in_int8.update(place for name in functions for place in places.get(name, ()))
        # what computes in int8 when it is called and in float when its weight is read is no int8 layer
        read = {name for name in call.layers if name in call.functions} - functions
        in_int8.difference_update(place for name in read for place in places[name])
        became = {name for name, known in places.items() if in_int8.issuperset(known)}
        fewer_bits -= _counted_twice(variant.model, module, in_int8)
        total = sum(tensor.numel() for tensor in used)
        # what is still read as FP32 has it did not become int8, however often the rest is held in int8
        gone = total - sum(tensor.numel() for tensor in alike(_wide_read(variant, held), used))
    parameters = min(fewer_bits, gone) / total if total else 0.0
    macs = sum(call.layers.get(name, 0) for name in became)
    macs += sum(call.functions.get(name, 0) for name in became & functions)
    # a graph does not say which of the layers are int8 that no module has registered
    is_seen = own is None or not call.apart
    known = call.total > 0 and (fewer_bits == 0 or (bool(became) and is_seen))
    return Int8Share(
        parameters,
        macs / call.total if known else None,
        tuple(name for name in owners if name not in became and not _is_norm(module, name)),
    )


def _wide_read(variant: Variant, held: list[Any]) -> list[Any]:
    """The float32 that a variant reads in a call; nothing where that is not seen."""
    read = places_read(variant) or frozenset()
    tensors = unique(
        part for whole in (*tensors_held(variant.model), *held) for part in parts_of(whole)
    )
    return [each for each in tensors if is_wide_float(each) and place_of(each) in read]


def _counted_twice(model: Any, fp32: Any, in_int8: set[str]) -> int:
    """What tied parameters, and a layer in several places, add too much: they count once, and as int8 only
    where all their users are."""
    users: dict[int, list[str]] = {}
    tied = dict[int, Any]()
    for name, child in fp32.named_modules(remove_duplicate=False):
        for parameter in child.parameters(recurse=False):
            users.setdefault(id(parameter), []).append(name)
            tied[id(parameter)] = parameter
    modules = dict(model.named_modules(remove_duplicate=False))
    narrow = [tensor.numel() for tensor in narrower(tensors_held(model), fp32)]
    too_many = 0
    for key, places in users.items():
        if len(places) < 2:
            continue
        count = int(tied[key].numel())
        holders = {id(modules.get(place)) for place in places if place in in_int8}
        copies = min(len(holders), narrow.count(count))
        too_many += count * max(0, copies - in_int8.issuperset(places))
    return too_many


def functional_int8(model: Any) -> set[str]:
    """Names of the layers that are functions in a traced graph, and that it computes in int8."""
    return {
        f"{name}.{layer}" if name else layer
        for name, child in model.named_modules()
        for layer in getattr(child, "int8_functional", ())
    }


def in_fewer_bits(
    model: Any, fp32: Any = None, idle: tuple[str, ...] = (), held: Iterable[Any] | None = None
) -> int:
    """How many parameters a module stores in fewer bits than FP32, or than float32.

    They are counted as elements of tensors. A submodule whose tensors hold more or fewer elements
    than parameters, such as two in a byte, says how many in an attribute `packed_parameters`.

    Args:
        model: a variant's.
        fp32: its FP32's, whose own narrow tensors do not count.
        idle: names of modules that no call uses, which are left out.
        held: the tensors that it reads beside parameters and buffers; None for its plain attributes.
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
    plain = [*plain_tensors(model)]
    packs = {place_of(tensor) for name, tensor in plain if name.startswith(inside)} - {0}
    beside = [tensor for _, tensor in plain] if held is None else held
    tensors += [tensor for tensor in beside if place_of(tensor) not in packs]
    tensors += [tensor for name, tensor in unsaved_in(model) if not name.startswith(inside)]
    counted = sum(tensor.numel() for tensor in narrower(unique(tensors), fp32))
    return sum(packed.values()) + int(counted)


def _places(module: Any) -> dict[str, list[str]]:
    """Each module that owns parameters of its own, by its first name, and all the names that it has."""
    first, found = dict[int, str](), dict[str, list[str]]()
    for name, child in module.named_modules(remove_duplicate=False):
        if any(True for _ in child.parameters(recurse=False)):
            found.setdefault(first.setdefault(id(child), name), []).append(name)
    return found


def _int8_places(model: Any, fp32: Any, places: dict[str, list[str]]) -> set[str]:
    """The names under which layers are int8; one that the model has no more is as those it has."""
    every = [place for known in places.values() for place in known]
    modules = under_fp32_names(model, every)
    found = set[str]()
    for known in places.values():
        left = {p: _became_int8(modules[p], fp32, p, every) for p in known if p in modules}
        found.update(place for place in known if left.get(place, any(left.values())))
    return found


def under_fp32_names(model: Any, every: Sequence[str]) -> dict[str, Any]:
    """A variant's modules under the names that they have in FP32, if it is FP32 inside another module, or
    what is inside FP32.

    Args:
        model: the variant's module.
        every: FP32's names of modules.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    if not modules.keys().isdisjoint(name for name in every if name):
        return modules
    ends = {name: f".{name}" for name in modules if name}
    outer = Counter(
        name[: -len(own)] for own in every if own for name in modules if name.endswith(f".{own}")
    )
    inner = Counter(
        own[: -len(name)] for name, end in ends.items() for own in every if own.endswith(end)
    )
    for prefixes, change in ((outer, str.removeprefix), (inner, lambda name, root: root + name)):
        for root, _ in prefixes.most_common(1):
            return {change(name, root): child for name, child in modules.items()}
    return modules


def _became_int8(module: Any, fp32: Any, name: str, owners: Iterable[str]) -> bool:
    prefix = f"{name}." if name else ""
    inner = tuple(
        owner[len(prefix) :] + "." for owner in owners if owner != name and owner.startswith(prefix)
    )
    state = {key: value for key, value in module.state_dict().items() if not key.startswith(inner)}
    own = [*tensors_of(state), *(t for n, t in plain_tensors(module) if not n.startswith(inner))]
    own += [part for value in vars(module).values() for part in packed_in(value)]
    before = fp32.get_submodule(name)
    if not narrower(own, before):
        return False
    given = list(before.parameters(recurse=False))
    stayed = alike(
        [each for whole in own for each in parts_of(whole) if is_wide_float(each)], given
    )
    # beside a weight that stayed, what is narrow is a mask or a table
    return bool(2 * sum(t.numel() for t in stayed) <= sum(t.numel() for t in given))


def _is_norm(module: Any, name: str) -> bool:
    """BatchNorm is folded into its convolution and vanishes; that is not staying FP32."""

    return isinstance(module.get_submodule(name), torch_api.batchnorm_base())
