"""One call: what FP32 multiplies for the first eval batch, and what it needs for all of them."""

import math
import time
from dataclasses import dataclass, replace
from typing import Any

from pytest_quant.machine import torch_api
from pytest_quant.measure.later_batches import later_batches
from pytest_quant.variant.variant import Variant

SECONDS = 20.0  # for which modules that the first batch leaves idle are looked for in the others


@dataclass(frozen=True, slots=True)
class OneCall:
    """What one call of FP32 does.

    Args:
        layers: multiply-adds of each Linear, convolution, recurrent and attention module that is
            called, by name; attention's are its projections of what comes in, and its `out_proj`,
            which is read and not called, has its own.
        functions: those of operators that take a tensor of a module without calling it, by its name:
            ``F.linear(x, self.words.weight)``, ``torch.addmm``.
        unassigned: those of all other operators: ``q @ k``, also inside attention, a convolution
            with a computed kernel.
        apart: of these, those that take a parameter which no module has registered.
        idle: names of the outermost modules with parameters, none of which is called or read for any
            eval batch.
        maybe_idle: those that are idle in all batches that were looked at, where time was up before the
            last, so that the rest may need them.
        looked_at: how many batches were.
    """

    layers: dict[str, int]
    functions: dict[str, int]
    unassigned: int
    apart: int
    idle: tuple[str, ...]
    maybe_idle: tuple[str, ...] = ()
    looked_at: int = 1

    @property
    def total(self) -> int:
        """All multiply-adds."""
        return sum(self.layers.values()) + sum(self.functions.values()) + self.unassigned

    def is_idle(self, name: str) -> bool:
        """Whether a module, parameter or buffer lies in an idle module."""
        return any(name == root or name.startswith(f"{root}.") for root in self.idle)

    def joined(self, later: "OneCall") -> "OneCall":
        """What both calls leave idle, and the multiply-adds of what only the later one calls."""

        def new(found: dict[str, int]) -> dict[str, int]:
            return {name: macs for name, macs in found.items() if self.is_idle(name)}

        idle = [name for name in self.idle if later.is_idle(name)]
        idle += [name for name in later.idle if self.is_idle(name)]  # one expert of an idle list
        return replace(
            self,
            layers=self.layers | new(later.layers),
            functions=self.functions | new(later.functions),
            idle=tuple(dict.fromkeys(idle)),
        )


def one_call(variant: Variant) -> OneCall:
    """What FP32 does for the first eval batch; found once and kept with FP32.

    What that batch leaves idle is looked for in the others, since an expert may be called for some samples
    only; its multiply-adds are then those of the first batch that calls it.

    Layers are counted with hooks, since PyTorch's own counter sees nothing in recurrent operations,
    all else by operator. Bias and element-wise work is left out, as is usual.
    """
    return variant.fp32.once("one call", lambda: _seen(variant.fp32))


def multiply_adds(variant: Variant) -> dict[str, int]:
    """Multiply-adds of FP32 for the first eval batch by the name of the module that they belong to.

    Those that belong to none, such as a product of two activations, are left out.
    """
    call = one_call(variant)
    return {
        name: call.layers.get(name, 0) + call.functions.get(name, 0)
        for name in dict.fromkeys([*call.functions, *call.layers])
    }


def _seen(fp32: Variant) -> OneCall:
    whole, seen = _of_batch(fp32, fp32.admitted.first_inputs), 1
    end = time.perf_counter() + SECONDS
    if not whole.idle:
        return whole
    try:
        with fp32.isolated((fp32.subject.eval_data,)):
            for inputs in later_batches(fp32):
                if time.perf_counter() > end:
                    return replace(whole, idle=(), maybe_idle=whole.idle, looked_at=seen)
                whole, seen = whole.joined(_of_batch(fp32, inputs)), seen + 1
                if not whole.idle:
                    break
    except Exception:  # told where FP32 is evaluated; until then all is needed
        return replace(whole, idle=())
    return whole


def _of_batch(fp32: Variant, inputs: Any) -> OneCall:
    import torch

    from pytest_quant.measure.held import unregistered
    from pytest_quant.measure.operator_macs import Operators, place_of

    nn, model = torch.nn, fp32.model
    kinds = (
        nn.Linear,
        torch_api.convolution_base(),
        nn.RNNBase,
        nn.RNNCellBase,
        nn.MultiheadAttention,
    )
    held = [each for each in unregistered(fp32) if isinstance(each, nn.Parameter)]
    operators = Operators(_owners(model), {place_of(each) for each in held})
    layers, called = dict[str, int](), set[str]()

    def before(name: str, is_layer: bool) -> Any:
        def hook(*_: Any) -> None:
            called.add(name)
            operators.paused += is_layer

        return hook

    def after(name: str) -> Any:
        def hook(module: Any, args: Any, kwargs: Any, output: Any) -> None:
            operators.paused -= 1
            counts = {name: layer_macs(module, args, kwargs, output)}
            if isinstance(module, nn.MultiheadAttention):
                out, products = _attention_macs(module, *_query_and_key(args, kwargs))
                counts[f"{name}.out_proj" if name else "out_proj"] = out
                operators.unassigned += products
            for each, count in counts.items():
                layers[each] = layers.get(each, 0) + count

        return hook

    handles = []
    for name, module in model.named_modules():
        if not torch_api.takes_hooks(module):  # which has no weights here
            continue
        is_layer = isinstance(module, kinds)
        handles.append(module.register_forward_pre_hook(before(name, is_layer)))
        if is_layer:
            handles.append(module.register_forward_hook(after(name), with_kwargs=True))
    try:
        with (
            fp32.running(),
            torch_api.without_fast_path(),  # which would go past the hooks
            operators,
        ):
            fp32.forward(inputs)
    finally:
        for handle in handles:
            handle.remove()
    idle = tuple(_idle(model, called, operators.read))
    return OneCall(layers, operators.by_owner, operators.unassigned, operators.apart, idle)


def _owners(model: Any) -> dict[int, str]:
    """Place of each parameter's storage -> name of the module that owns it."""
    from pytest_quant.measure.operator_macs import place_of

    found: dict[int, str] = {}
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            if torch_api.wrapped(parameter) is None:
                found.setdefault(place_of(parameter), name)
    return found


def _idle(model: Any, called: set[str], read: set[int]) -> list[str]:
    """The outermost modules with parameters of which nothing is called or read."""
    from pytest_quant.measure.operator_macs import place_of

    idle: list[str] = []
    for name, module in model.named_modules():
        if not name or any(name.startswith(f"{root}.") for root in idle):
            continue
        inside = [f"{name}.{below}" if below else name for below, _ in module.named_modules()]
        tensors = list(module.parameters())
        if not tensors or called & {*inside}:
            continue
        if any(torch_api.wrapped(t) is not None or place_of(t) in read for t in tensors):
            continue
        idle.append(name)
    return idle


def layer_macs(module: Any, args: Any, kwargs: Any, output: Any) -> int:
    """Multiply-adds of one call of a layer; of attention, those of its own weights."""
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
    query, key = _query_and_key(args, kwargs)
    of_keys = key.numel() // key.shape[-1] * (module.kdim + module.vdim) * query.shape[-1]
    return int(query.numel() * query.shape[-1] + of_keys)


def _query_and_key(args: Any, kwargs: Any) -> tuple[Any, Any]:
    query = args[0] if args else kwargs["query"]
    return query, args[1] if len(args) > 1 else kwargs.get("key", query)


def _attention_macs(module: Any, query: Any, key: Any) -> tuple[int, int]:
    """Multiply-adds of one call of attention: of `out_proj`, and of products of activations."""
    sequence = key.shape[1] if module.batch_first and key.ndim == 3 else key.shape[0]
    return int(query.numel() * query.shape[-1]), int(2 * query.numel() * sequence)
