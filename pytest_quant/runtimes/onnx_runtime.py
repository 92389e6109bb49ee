"""ONNX Runtime: files ``.onnx``, on its CPU provider."""

import json
import math
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pytest_quant.runtimes.kernel_macs import Operand, convolution, product, recurrent
from pytest_quant.runtimes.runtime import Array, Kernel, Port

NAME, SUFFIX, PACKAGE, EXTRA = "ONNX Runtime", ".onnx", "onnxruntime", "onnx"
PRODUCTION = """\
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = threads
session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
names = [each.name for each in session.get_inputs()]
outputs = session.run(None, dict(zip(names, inputs)))
"""

# By operator, the place of the weights among the inputs.
CONVOLUTIONS = {
    "Conv": 1, "FusedConv": 1, "NhwcFusedConv": 1, "ConvInteger": 1, "QLinearConv": 3,
}  # fmt: skip
TRANSPOSED = {"ConvTranspose": 1}
PRODUCTS = {
    "MatMul": 1, "FusedMatMul": 1, "TransposeMatMul": 1, "Gemm": 1, "FusedGemm": 1,
    "MatMulInteger": 1, "MatMulIntegerToFloat": 1, "DynamicQuantizeMatMul": 1, "MatMulNBits": 1,
    "QLinearMatMul": 3, "QGemm": 3, "Attention": 1, "QAttention": 1,
}  # fmt: skip
RECURRENT = {"LSTM": (1, 2), "GRU": (1, 2), "RNN": (1, 2), "DynamicQuantizeLSTM": (1, 2)}
LOOPS = ("Loop", "Scan")
INNER = (*LOOPS, "If")  # which have graphs in them
TABLES = {"Gather": 0, "GatherBlockQuantized": 0}
WHOLE = {"float": 32, "float16": 16, "bfloat16": 16, "double": 64}
Sizes = tuple[int, ...]
TYPES = {
    "tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16",
    "tensor(string)": "str", "tensor(bool)": "bool",
}  # fmt: skip


def version() -> str:
    """As the protocol says."""
    import onnxruntime

    return str(onnxruntime.__version__)


def files(path: Path) -> list[Path]:
    """As the protocol says: the model, and its external data."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError as error:
        raise ValueError(f"it is no ONNX model ({error})") from None
    if not model.HasField("graph") or not model.opset_import:
        raise ValueError("it is no ONNX model: it has no graph")
    found = {path}
    inner = (node for function in model.functions for node in function.node)
    for tensor in (*_tensors(model.graph), *_tensors_of(inner)):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            found.update(path.parent / e.value for e in tensor.external_data if e.key == "location")
    return sorted(found, key=lambda each: (each != path, each))


def _tensors(graph: Any) -> Iterator[Any]:
    """All constants of a graph and of the graphs in it."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _tensors_of(graph.node)


def _tensors_of(nodes: Iterable[Any]) -> Iterator[Any]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from _tensors(inner)


class OnnxSession:
    """A session, whose threads do not spin once a call is over, when something else is timed."""

    def __init__(self, path: Path, options: Any) -> None:
        import onnxruntime

        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self.inputs = tuple(map(_port, self._session.get_inputs()))
        self.outputs = tuple(map(_port, self._session.get_outputs()))
        self._names = [port.name for port in self.inputs]

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """As the protocol says."""
        outputs = self._session.run(None, dict(zip(self._names, arrays, strict=True)))
        return [np.asarray(each) for each in outputs]

    def end_profiling(self) -> Path:
        """The file with what was run."""
        return Path(self._session.end_profiling())


def load(path: Path, threads: int) -> OnnxSession:
    """As the protocol says."""
    return OnnxSession(path, _options(threads))


def kernels(path: Path, threads: int, arrays: Sequence[Array]) -> list[Kernel]:
    """As the protocol says: out of a profile of one call."""
    with tempfile.TemporaryDirectory() as folder:
        options = _options(threads)
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder, "profile"))
        # else weights that are packed at load have no shape in it
        options.add_session_config_entry("session.disable_prepacking", "1")
        session = OnnxSession(path, options)
        session.run(arrays)
        events = json.loads(session.end_profiling().read_text(encoding="utf-8"))
    run = [e for e in events if e.get("cat") == "Node" and e["name"].endswith("_kernel_time")]
    ops = {each["args"]["op_name"] for each in run}
    outer = _taken_from_around(path) if ops.intersection(INNER) else frozenset[Sizes]()
    made = (_kernel(e["name"].removesuffix("_kernel_time"), e["args"], outer) for e in run)
    found = [kernel for kernel in made if kernel is not None]
    return _once_each(found) if ops.intersection(LOOPS) else found


def _taken_from_around(path: Path) -> frozenset[Sizes]:
    """Sizes, sorted, of the constants of a graph that loops and branches in it use, which a profile does
    not tell from what is computed."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    inner = (a.g for node in graph.node for a in node.attribute if a.HasField("g"))
    used = {name for each in inner for name in _names_in(each)}
    return frozenset(tuple(sorted(each.dims)) for each in graph.initializer if each.name in used)


def _names_in(graph: Any) -> Iterator[str]:
    """What the nodes of a graph and of the graphs in it take."""
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _names_in(attribute.g)


def _once_each(run: list[Kernel]) -> list[Kernel]:
    """Of kernels that a loop runs again and again one each, whose weights are there once."""
    found = dict[tuple[str, int, int], Kernel]()
    for kernel in run:
        key = (kernel.name, kernel.weights, kernel.bits)
        before = found[key].macs if key in found else 0
        found[key] = replace(kernel, macs=before + kernel.macs)
    return list(found.values())


def _options(threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options


def _port(value: Any) -> Port:
    shape = tuple(size if isinstance(size, int) else None for size in value.shape)
    dtype = TYPES.get(value.type, str(value.type).removeprefix("tensor(").removesuffix(")"))
    return Port(value.name, shape, dtype)


def _kernel(name: str, args: dict[str, Any], outer: frozenset[Sizes]) -> Kernel | None:
    op = str(args["op_name"])
    given = [_operand(each) for each in args["input_type_shape"]]
    out = [_operand(each) for each in args["output_type_shape"]]
    if op in CONVOLUTIONS or op in TRANSPOSED:
        weights = given[CONVOLUTIONS.get(op, 1)]
        return convolution(name, op, given[0], weights, out[0], is_transposed=op in TRANSPOSED)
    if op == "MatMulNBits":  # whose weights are packed, some to a byte
        inner, columns = given[0].shape[-1], out[0].shape[-1]
        bits = round(8 * given[1].count / (inner * columns))
        return Kernel(name, op, out[0].count * inner, inner * columns, bits)
    if op in PRODUCTS:
        right = given[PRODUCTS[op]]
        return product(
            name, op, given[0], right, out[0], is_constant=_is_constant(right, args, outer)
        )
    if op in RECURRENT:
        steps = math.prod(given[0].shape[:-1])
        return recurrent(name, op, steps, [given[place] for place in RECURRENT[op]])
    if op in TABLES:
        table = given[TABLES[op]]
        is_of_sizes = "int64" in args["input_type_shape"][TABLES[op]]
        if table.count and not is_of_sizes and _is_constant(table, args, outer):
            return Kernel(name, op, 0, table.count, table.bits)
    return None


def _is_constant(operand: Operand, args: dict[str, Any], outer: frozenset[Sizes]) -> bool:
    own = int(args.get("parameter_size") or 0)
    return own >= operand.bytes or (not own and tuple(sorted(operand.shape)) in outer)


def _operand(told: dict[str, list[int]]) -> Operand:
    (dtype, shape), *_ = told.items()
    digits = "".join(filter(str.isdigit, dtype))
    return Operand(tuple(shape), WHOLE.get(dtype, int(digits or 8)))
