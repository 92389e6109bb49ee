"""ONNX Runtime: files ``.onnx``, on its CPU provider."""

import json
import math
import tempfile
from collections.abc import Iterator, Sequence
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
TABLES = {"Gather": 0, "GatherBlockQuantized": 0}
WHOLE = {"float": 32, "float16": 16, "bfloat16": 16, "double": 64}
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
    for tensor in _tensors(model.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            found.update(path.parent / e.value for e in tensor.external_data if e.key == "location")
    return sorted(found, key=lambda each: (each != path, each))


def _tensors(graph: Any) -> Iterator[Any]:
    """All constants of a graph and of the graphs in it."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
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
    found = []
    for event in events:
        if event.get("cat") == "Node" and str(event["name"]).endswith("_kernel_time"):
            kernel = _kernel(event["name"].removesuffix("_kernel_time"), event["args"])
            found += [] if kernel is None else [kernel]
    return found


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


def _kernel(name: str, args: dict[str, Any]) -> Kernel | None:
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
        is_constant = int(args.get("parameter_size") or 0) >= given[PRODUCTS[op]].bytes
        return product(name, op, given[0], given[PRODUCTS[op]], out[0], is_constant=is_constant)
    if op in RECURRENT:
        steps = math.prod(given[0].shape[:-1])
        return recurrent(name, op, steps, [given[place] for place in RECURRENT[op]])
    if op in TABLES:
        table = given[TABLES[op]]
        is_constant = int(args.get("parameter_size") or 0) >= table.bytes > 0
        is_of_sizes = "int64" in args["input_type_shape"][TABLES[op]]
        return (
            None if is_of_sizes or not is_constant else Kernel(name, op, 0, table.count, table.bits)
        )
    return None


def _operand(told: dict[str, list[int]]) -> Operand:
    (dtype, shape), *_ = told.items()
    digits = "".join(filter(str.isdigit, dtype))
    return Operand(tuple(shape), WHOLE.get(dtype, int(digits or 8)))
