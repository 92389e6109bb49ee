"""int8 share: how much of a model is stored in, and computes with, fewer bits than FP32."""

import math
from collections.abc import Iterator
from typing import Any

from pytest_quant.machine import torch_api
from pytest_quant.measure.narrower import is_share_known, narrower
from pytest_quant.variant.measurements import Int8Share
from pytest_quant.variant.tensors import plain_tensors, state_of, tensors_of, unique
from pytest_quant.variant.variant import Variant


def measure_int8_share(variant: Variant) -> Int8Share:
    """The share of parameters and multiply-adds that became int8."""
    import torch

    module = variant.fp32.model
    owners = tuple(_weighted(module))
    if variant.is_fp32:
        return Int8Share(0.0, 0.0, owners)
    if not isinstance(variant.model, torch.nn.Module):
        return Int8Share(None, None, ())
    with variant.running(), torch.inference_mode(False):  # in which wrappers cannot be detached
        fewer_bits = in_fewer_bits(variant.model, module)
        is_known = variant.facts.is_known or is_share_known(variant.model, module, fewer_bits)
        own = getattr(variant.model, "int8_modules", None)  # of a graph, which has no modules left
        if own is None:
            own = {name for name in owners if _became_int8(variant.model, module, name, owners)}
        became = (own | functional_int8(variant.model)) & set(owners)
    if not is_known:
        return Int8Share(None, None, ())
    total = sum(parameter.numel() for parameter in module.parameters())
    parameters = min(1.0, fewer_bits / total) if total else 0.0
    macs = multiply_adds(variant)
    known = sum(macs.values()) > 0 and (bool(became) or fewer_bits == 0)
    return Int8Share(
        parameters,
        sum(macs.get(name, 0) for name in became) / sum(macs.values()) if known else None,
        tuple(name for name in owners if name not in became and not _is_norm(module, name)),
    )


def functional_int8(model: Any) -> set[str]:
    """Names of the layers that are functions in a traced graph, and that it computes in int8."""
    return {
        f"{name}.{layer}" if name else layer
        for name, child in model.named_modules()
        for layer in getattr(child, "int8_functional", ())
    }


def in_fewer_bits(model: Any, fp32: Any = None) -> int:
    """How many parameters a module stores in fewer bits than FP32, or than float32.

    They are counted as elements of tensors. A submodule whose tensors hold more or fewer elements
    than parameters, such as two in a byte, says how many in an attribute `packed_parameters`.
    """
    packed, inside = dict[int, int](), tuple[str, ...]()
    for name, child in model.named_modules(remove_duplicate=False):
        if (count := getattr(child, "packed_parameters", None)) is not None:
            packed[id(child)] = int(count)
            inside += (f"{name}." if name else "",)
    state = {key: value for key, value in state_of(model).items() if not key.startswith(inside)}
    tensors = [*tensors_of(state)]
    tensors += [tensor for name, tensor in plain_tensors(model) if not name.startswith(inside)]
    counted = sum(tensor.numel() for tensor in narrower(unique(tensors), fp32))
    return sum(packed.values()) + int(counted)


def multiply_adds(variant: Variant) -> dict[str, int]:
    """Multiply-adds of each Linear, convolution, recurrent and attention module of FP32.

    Counted with hooks on the first eval batch: PyTorch's own counter sees nothing in int8 and
    recurrent operations. Bias and element-wise work is left out, as is usual.
    """
    import torch

    from pytest_quant.measure.functional import FunctionalLinear

    nn = torch.nn
    counts: dict[str, int] = {}
    handles = []

    def count(name: str) -> Any:
        def hook(module: Any, args: Any, kwargs: Any, output: Any) -> None:
            counts[name] = counts.get(name, 0) + _module_macs(module, args, kwargs, output)

        return hook

    kinds = (
        nn.Linear,
        torch_api.convolution_base(),
        nn.RNNBase,
        nn.RNNCellBase,
        nn.MultiheadAttention,
    )
    weights = dict[int, str]()
    for name, module in variant.fp32.model.named_modules():
        if isinstance(module, kinds):
            handles.append(module.register_forward_hook(count(name), with_kwargs=True))
        if isinstance(module, nn.Linear):
            weights[id(module.weight)] = name
    functional = FunctionalLinear(weights)
    try:
        with (
            variant.fp32.running(),
            torch_api.without_fast_path(),  # which would go past the hooks
            functional,
        ):
            variant.fp32.forward(variant.admitted.first_inputs)
    finally:
        for handle in handles:
            handle.remove()
    return {**functional.counts, **counts}


def _module_macs(module: Any, args: Any, kwargs: Any, output: Any) -> int:
    import torch

    nn = torch.nn
    if isinstance(module, torch_api.convolution_base()):
        positions = args[0] if module.transposed else output
        channels = module.out_channels if module.transposed else module.in_channels
        kernel = math.prod(module.kernel_size)
        return int(positions.numel() * channels // module.groups * kernel)
    if isinstance(module, nn.Linear):
        return int(output.numel() * module.in_features)
    if isinstance(module, nn.RNNBase | nn.RNNCellBase):
        inputs = args[0] if args else kwargs["input"]
        data = inputs.data if hasattr(inputs, "batch_sizes") else inputs
        steps = data.numel() // data.shape[-1]
        weights = sum(p.numel() for name, p in module.named_parameters() if "weight" in name)
        return int(steps * weights)
    query = args[0] if args else kwargs["query"]
    key = args[1] if len(args) > 1 else kwargs.get("key", query)
    width, tokens = query.shape[-1], query.numel() // query.shape[-1]
    sequence = key.shape[1] if module.batch_first and key.ndim == 3 else key.shape[0]
    of_keys = key.numel() // key.shape[-1] * (module.kdim + module.vdim) * width
    of_queries = 2 * tokens * width * width  # with out_proj, which is not called as a module
    return int(of_queries + of_keys + 2 * tokens * sequence * width)


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
