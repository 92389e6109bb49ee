"""Exported: a graph of `torch.export` that is called, trained and compiled like the user's module."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from pytest_quant.quantize.flows.ahead import package
from pytest_quant.quantize.flows.kernel import Kernel, compiled
from pytest_quant.quantize.flows.named_call import NamedCall
from pytest_quant.subject.batches import mapped, size_of, taken, tensors_in

VARIES = "more than the batch's size varies"  # no name of a node


class Exported(torch.nn.Module):
    """A graph with observers or fake-quantize modules.

    Args:
        graph: takes the arguments of one call by name.
        call: how the user's model is called.
        size: the one batch size that the graph takes; None when it takes any.
        sizes: of each tensor that the graph takes; None where it takes any.

    Attributes:
        lengths: sizes beyond the batch's that it has seen.
    """

    def __init__(
        self,
        graph: Any,
        call: NamedCall,
        size: int | None,
        sizes: list[tuple[int | None, ...]],
    ) -> None:
        super().__init__()
        self.graph = graph
        self.call = call
        self.size = size
        self.sizes = sizes
        self.lengths = set[tuple[Any, ...]]()
        self.keeps_statistics = False

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        outputs = self.outputs(self.call.arguments(args, kwargs))
        return outputs if self.call.rebuild is None else self.call.rebuild(outputs)

    def outputs(self, values: dict[str, Any]) -> Any:
        """What the graph returns."""
        if self.size is None or not self.call.is_batched:
            return self.run(values)
        return in_chunks(self.run, values, self.size)

    def run(self, values: dict[str, Any]) -> Any:
        """What the graph returns for a batch of a size that it takes."""
        self.lengths.add(_lengths(values))
        return self.graph(**values)

    def misfit(self, args: Any, kwargs: Any) -> str | None:
        """Which sizes it is bound to and a call, which is noted, does not have; None where it has. That of
        a batch counts only where other batches cannot be filled up or parted."""
        values = self.call.arguments(args, kwargs)
        self.lengths.add(_lengths(values))
        batch = _size(values)
        bound_to = None if self.call.is_batched else self.size
        tensors = list(tensors_in(values))
        if len(tensors) != len(self.sizes):
            return f"{len(self.sizes)} tensors a call and none of {len(tensors)}"
        for own, tensor in zip(self.sizes, tensors, strict=True):
            places = enumerate(zip(own, tensor.shape, strict=True))
            if not all(
                size in (None, here) or (not place and here == batch and bound_to in (None, here))
                for place, (size, here) in places
            ):
                bound = ", ".join("any" if size is None else str(size) for size in own[1:])
                first = "batch" if bound_to is None else bound_to
                return f"inputs of shape [{first}, {bound}] and none of {list(tensor.shape)}"
        return None

    def train(self, mode: bool = True) -> "Exported":
        self.training = mode
        set_training(self.graph, mode and not self.keeps_statistics, mode)
        return self

    def freeze_bn_stats(self) -> None:
        """Keep the statistics of batch normalization from here on."""
        self.keeps_statistics = True
        self.train(self.training)


class Compiled(Exported):
    """A converted graph, compiled by inductor for the shapes of the first batch it sees.

    Smaller batches are filled up to that size, since each new size costs seconds to compile. Where other
    sizes vary, such as the length of texts, it is compiled for all of them at once. A deep copy has seen
    no batch yet. There is nothing to train in it: `train` and `eval` change nothing.

    It is compiled without dynamo, whose guards cost a fifth of a millisecond a call, and which forgets
    all that it compiled at the next export in the process and would silently compile it anew.

    Args:
        exported: the graph before its conversion, and how it is called.
        graph: the converted graph, with int8 weights.
        form: of its outputs, a pytree's spec, which the graph's copies do not keep.
        int8_modules: the user's names of the modules that became int8.

    Attributes:
        varies: whether more than the batch's size does, as far as calibration or training showed.
        without_kernel: how many uses of int8 weights inductor found no int8 kernel for when it last
            compiled: they run in FP32, on dequantized weights.
    """

    def __init__(
        self, exported: Exported, graph: Any, form: Any, int8_modules: frozenset[str]
    ) -> None:
        super().__init__(graph, exported.call, exported.size, exported.sizes)
        self.form = form
        self.int8_modules = int8_modules
        self.training = False
        self.varies = getattr(exported, "varies", len(exported.lengths) > 1)
        self.without_kernel = 0
        self._compiles = True
        self._largest = self.size or 0
        self._kernels: dict[tuple[Any, ...], Kernel] = {}

    def outputs(self, values: dict[str, Any]) -> Any:
        if not self.call.is_batched:
            return self.run(values)
        if not self.size:
            self._largest = max(self._largest, _size(values))
        return in_chunks(self.run, values, self._largest)

    @contextmanager
    def uncompiled(self) -> Iterator[None]:
        """In which it computes the same in float, operation by operation."""
        self._compiles = False
        try:
            yield
        finally:
            self._compiles = True

    def run(self, values: dict[str, Any]) -> Any:
        if not self._compiles:
            return self.graph(**values)
        inputs = list(tensors_in(values))
        key = tuple((tensor.shape, tensor.dtype) for tensor in inputs)
        if key not in self._kernels:
            self.lengths.add(_lengths(values))
            self._kernels[key] = self._kernel(inputs)
        return self._kernels[key](inputs)

    def _kernel(self, inputs: list[Any]) -> Kernel:
        """One that takes these inputs, compiled where there is none."""
        for known in self._kernels.values():
            if known.takes(inputs):
                return known
        free = None
        if self.varies or len(self.lengths) > 1:
            if not self.varies:  # from now on, so that copies and files give the same bits
                self.varies = True
                self._kernels.clear()
            free = [tuple(size is None for size in sizes) for sizes in self.sizes]
        kernel, found = compiled(self.graph, inputs, self.form, free)
        if found is not None:  # else this PyTorch does not tell
            self.without_kernel = max(0, len(weight_nodes(self.graph)) - found)
        return kernel

    def call_values(self, args: Any, kwargs: Any) -> dict[str, Any]:
        """The tensors of a call by the names that the graph takes, of as many samples as it takes."""
        values = self.call.arguments(args, kwargs)
        return taken(values, self.size) if self.size else values

    def package(
        self, values: dict[str, Any], sizes: Sequence[tuple[int | None, ...]], path: Path
    ) -> None:
        """Write what PyTorch alone loads and calls; as `ahead.package`."""
        is_fixed = all(size is not None for own in sizes for size in own)
        samples = self.size or (_size(values) if is_fixed else max(2, _size(values)))
        package(self.graph, taken(values, samples), sizes, path)

    def train(self, mode: bool = True) -> "Compiled":
        return self

    def get_extra_state(self) -> dict[str, list[float]]:
        """Scales and zero points of activations, which the graph holds as literals, and whether more than
        the batch's size varies, which decides what it is compiled for."""
        literals = {
            node.name: [arg for arg in node.args[1:] if isinstance(arg, int | float)]
            for node in quantizing_nodes(self.graph)
        }
        return literals | ({VARIES: [1.0]} if self.varies else {})

    def set_extra_state(self, state: dict[str, list[float]]) -> None:
        """Take over the literals of another graph of the same model.

        Raises:
            ValueError: when it is no such graph.
        """
        state = dict(state)
        self.varies = bool(state.pop(VARIES, None))
        nodes = {node.name: node for node in quantizing_nodes(self.graph)}
        if nodes.keys() != state.keys():
            raise ValueError("the quantized graph has other nodes")
        for name, values in state.items():
            left = iter(values)
            for index, arg in enumerate(nodes[name].args[1:], start=1):
                if isinstance(arg, int | float):
                    nodes[name].update_arg(index, next(left))
        self.graph.recompile()
        self._kernels.clear()

    def __deepcopy__(self, memo: dict[int, Any]) -> "Compiled":
        graph = copy.deepcopy(self.graph, memo)
        made = Compiled(self, graph, self.form, self.int8_modules)
        memo[id(self)] = made
        return made


def in_chunks(run: Callable[[Any], Any], values: dict[str, Any], size: int) -> Any:
    """Outputs of any number of samples from what takes just `size` of them at once: in chunks, of
    which the last is filled up with repeated samples, whose outputs are dropped."""
    total = _size(values)
    if total == size or not total:
        return run(values)
    parts = []
    for start in range(0, total, size):
        count = min(size, total - start)
        chunk = taken(_rows(values, start, start + count, total), size)
        parts.append(_rows(run(chunk), 0, count, size))
    return parts[0] if len(parts) == 1 else _joined(parts)


def quantizing_nodes(graph: Any) -> list[Any]:
    """The nodes of a converted graph that quantize or dequantize a tensor."""
    return [node for node in graph.graph.nodes if "quantized_decomposed" in str(node.target)]


def weight_nodes(graph: Any) -> list[Any]:
    """The nodes of a converted graph that give a convolution or Linear its int8 weight."""
    target = torch.ops.quantized_decomposed.dequantize_per_channel.default
    return [node for node in graph.graph.nodes if node.target is target]


def set_training(graph: Any, batchnorm: bool, dropout: bool) -> None:
    """Switch batch normalization and dropout, which `torch.export` fixes in the graph.

    Each node keeps its own epsilon, momentum and rate.
    """
    aten = torch.ops.aten
    switches = {
        aten.batch_norm.default: (5, batchnorm),
        aten.dropout.default: (2, dropout),
        aten.dropout_.default: (2, dropout),
        aten.feature_dropout.default: (2, dropout),
        aten.alpha_dropout.default: (2, dropout),
    }
    for node in graph.graph.nodes:
        if node.target in switches:
            node.update_arg(*switches[node.target])
        elif node.target is aten.scaled_dot_product_attention.default and len(node.args) > 4:
            rate = node.meta.setdefault("dropout_p", node.args[4])
            node.update_arg(4, rate if dropout else 0.0)
    graph.recompile()


def _size(values: dict[str, Any]) -> int:
    return size_of(list(values.values()))


def _lengths(values: dict[str, Any]) -> tuple[Any, ...]:
    """All sizes of a call's tensors but that of the batch."""
    return tuple(tuple(tensor.shape[1:]) for tensor in tensors_in(values))


def _rows(nest: Any, start: int, stop: int, total: int) -> Any:
    """Some rows of each tensor that has one for each of `total` samples."""
    return mapped(nest, lambda t: t[start:stop] if t.ndim and t.shape[0] == total else t)


def _joined(parts: list[Any]) -> Any:
    columns = zip(*(tensors_in(part) for part in parts), strict=True)
    joined = iter([torch.cat(column) if column[0].ndim else column[0] for column in columns])
    return mapped(parts[0], lambda _: next(joined))
