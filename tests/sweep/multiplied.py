"""Multiplied: multiply-adds of one call by bare PyTorch, without this package.

FP32's are those of PyTorch's own `FlopCounterMode`; int8 ones are counted where the built model calls
PyTorch's int8 operators.
"""

import copy
import math
from contextlib import contextmanager

import torch
from swept import called
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

aten = torch.ops.aten
WEIGHTED = (
    *(aten.linear.default, aten.conv1d.default),
    *(aten.conv2d.default, aten.conv3d.default),
)


def fp32_macs(model, given):
    """Multiply-adds of one call."""
    counted = {
        aten._trilinear: _trilinear,
        aten._scaled_dot_product_flash_attention_for_cpu: _attention,
        aten.mv: lambda a, b, *_, **__: 2 * math.prod(a),
        aten.dot: lambda a, b, *_, **__: 2 * math.prod(a),
    }
    model = copy.deepcopy(model).requires_grad_(False)
    plain = torch.backends.mkldnn.flags(enabled=False)  # the counter sees none of its LSTM and GRU
    with plainly(), plain, FlopCounterMode(display=False, custom_mapping=counted) as counter:
        called(model, given)
    flops = counter.get_total_flops()
    assert flops % 2 == 0
    return flops // 2


def int8_macs(built, given):
    """Multiply-adds of one call in PyTorch's int8 kernels."""
    if hasattr(built, "int8_modules"):  # a compiled graph, whose operations are in its source
        return _Graph(built).macs(given)
    counted = [0]

    def recurrent(module, args, output):
        rows = args[0].numel() // args[0].shape[-1]
        if isinstance(module, kinds[0]):
            cells = module._all_weight_values
            weights = [w for cell in cells for w in _matrices(cell.param)]
        else:
            weights = [*_weight(module._packed_weight_ih), *_weight(module._packed_weight_hh)]
        counted[0] += rows * sum(w.numel() for w in weights)

    dynamic = torch.ao.nn.quantized.dynamic
    kinds = dynamic.modules.rnn.RNNBase, dynamic.modules.rnn.RNNCellBase
    hooks = [m.register_forward_hook(recurrent) for m in built.modules() if isinstance(m, kinds)]
    try:
        with plainly(), _Int8Calls(counted):
            called(built, given)
    finally:
        for hook in hooks:
            hook.remove()
    return counted[0]


class _Int8Calls(TorchDispatchMode):
    """Adds what each int8 operator of a matrix or kernel multiplies."""

    def __init__(self, counted):
        super().__init__()
        self.counted = counted

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        name = str(func)
        packed = next((a for a in args if isinstance(a, torch.ScriptObject)), None)
        if name.startswith(("quantized.linear", "quantized.conv")) and "pack" not in name:
            self.counted[0] += output.numel() * packed.unpack()[0][0].numel()
        return output


def _weight(packed):
    return [packed.unpack()[0]]


def _matrices(cell):
    """Weights inside the packed parameters of a recurrent layer."""
    return [packed.unpack()[0] for packed in cell.__getstate__()[0][4]]


class _Graph(torch.fx.Interpreter):
    """Runs a converted graph of `torch.export` step by step."""

    def __init__(self, built):
        super().__init__(built.graph)
        self.built, self.count = built, 0

    def macs(self, given):
        values = given if isinstance(given, dict) else None
        if values is None:
            args = given if isinstance(given, tuple) else (given,)
            values = dict(zip(self.built.call.names, args, strict=True))
        with torch.no_grad():
            self.run(*values.values())
        return self.count

    def run_node(self, n):
        output = super().run_node(n)
        if n.target in WEIGHTED and all("dequantize" in str(a.target) for a in n.args[:2]):
            self.count += output.numel() * self.env[n.args[1]][0].numel()
        return output


def _trilinear(a, b, c, *dims, **_):
    shapes = [list(shape) for shape in (a, b, c)]
    for shape, missing in zip(shapes, dims[:3], strict=True):
        for dim in sorted(missing):
            shape.insert(dim, 1)
    return 2 * math.prod(max(each) for each in zip(*shapes, strict=True))


def _attention(query, key, value, *_, **__):
    return 2 * math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


@contextmanager
def plainly():
    """Without attention's fast path, which reads FP32 weights."""
    was = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was)
