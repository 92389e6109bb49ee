"""LiteRT: files ``.tflite``, by its interpreter."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pytest_quant.runtimes.kernel_macs import Operand, product, recurrent
from pytest_quant.runtimes.runtime import Array, Kernel, Port

NAME, SUFFIX, PACKAGE, EXTRA = "LiteRT", ".tflite", "ai_edge_litert", "litert"
PRODUCTION = """\
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(path, num_threads=threads)
for details, array in zip(interpreter.get_input_details(), inputs):
    interpreter.resize_tensor_input(details["index"], array.shape)
interpreter.allocate_tensors()
for details, array in zip(interpreter.get_input_details(), inputs):
    interpreter.set_tensor(details["index"], array)
interpreter.invoke()
outputs = [interpreter.get_tensor(each["index"]) for each in interpreter.get_output_details()]
"""
CONVOLUTIONS = {"CONV_2D", "DEPTHWISE_CONV_2D", "CONV_3D"}
RECURRENT = {"UNIDIRECTIONAL_SEQUENCE_LSTM", "LSTM", "RNN", "SVDF"}


def version() -> str:
    """As the protocol says."""
    from importlib.metadata import version as of

    return of("ai-edge-litert")


def files(path: Path) -> list[Path]:
    """As the protocol says."""
    with path.open("rb") as file:
        if file.read(8)[4:] != b"TFL3":
            raise ValueError("it is no LiteRT model: bytes 4 to 8 are not TFL3")
    return [path]


class LiteRtSession:
    """An interpreter; of inputs of other sizes than before it allocates its tensors anew.

    Args:
        path: of the file.
        threads: that compute.
        is_delegated: whether its faster kernels run, behind which single operations are not to be seen.
    """

    def __init__(self, path: Path, threads: int, is_delegated: bool = True) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        self.interpreter = Interpreter(
            str(path),
            num_threads=threads,
            experimental_op_resolver_type=OpResolverType.AUTO if is_delegated else plain,
        )
        self.interpreter.allocate_tensors()
        self._in = self.interpreter.get_input_details()
        self._out = self.interpreter.get_output_details()
        self.inputs = tuple(map(_port, self._in))
        self.outputs = tuple(map(_port, self._out))

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """As the protocol says."""
        self._resize(arrays)
        for details, array in zip(self._in, arrays, strict=True):
            self.interpreter.set_tensor(details["index"], array)
        self.interpreter.invoke()
        return [np.array(self.interpreter.get_tensor(each["index"])) for each in self._out]

    def _resize(self, arrays: Sequence[Array]) -> None:
        other = False
        for details, array in zip(self._in, arrays, strict=True):
            if tuple(details["shape"]) != array.shape:
                self.interpreter.resize_tensor_input(details["index"], array.shape)
                other = True
        if other:
            self.interpreter.allocate_tensors()
            self._in = self.interpreter.get_input_details()


def load(path: Path, threads: int) -> LiteRtSession:
    """As the protocol says."""
    return LiteRtSession(path, threads)


def kernels(path: Path, threads: int, arrays: Sequence[Array]) -> list[Kernel]:
    """As the protocol says, but for the faster kernels that take the place of some of these."""
    session = LiteRtSession(path, threads, is_delegated=False)
    session.run(arrays)
    interpreter = session.interpreter
    tensors = {each["index"]: each for each in interpreter.get_tensor_details()}
    written = {int(i) for op in interpreter._get_ops_details() for i in op["outputs"]}
    given = {int(each["index"]) for each in interpreter.get_input_details()}
    found = []
    for op in interpreter._get_ops_details():
        places = [int(each) for each in op["inputs"] if each >= 0]
        constant = {each for each in places if each not in written and each not in given}
        outputs = [_operand(tensors[int(each)]) for each in op["outputs"]]
        kernel = _kernel(str(op["op_name"]), places, constant, tensors, outputs)
        found += [] if kernel is None else [kernel]
    return found


def _kernel(
    op: str, places: list[int], constant: set[int], tensors: Any, outputs: list[Operand]
) -> Kernel | None:
    inputs = [_operand(tensors[place]) for place in places]
    if op in CONVOLUTIONS and places[1] in constant:  # (out, ..., in); depthwise (1, ..., out)
        name = str(tensors[places[1]]["name"])
        macs = outputs[0].count * inputs[1].count // outputs[0].shape[-1]
        return Kernel(name, op, macs, inputs[1].count, inputs[1].bits)
    if op == "TRANSPOSE_CONV" and places[1] in constant:  # sizes, weights (out, ..., in), inputs
        macs = inputs[2].count * inputs[1].count // inputs[2].shape[-1]
        name = str(tensors[places[1]]["name"])
        return Kernel(name, op, macs, inputs[1].count, inputs[1].bits)
    if op in ("FULLY_CONNECTED", "BATCH_MATMUL"):
        name = str(tensors[places[1]]["name"])
        return product(
            name, op, inputs[0], inputs[1], outputs[0], is_constant=places[1] in constant
        )
    if op in RECURRENT:
        weights = [_operand(tensors[p]) for p in constant if len(tensors[p]["shape"]) == 2]
        return recurrent(op, op, math.prod(inputs[0].shape[:-1]), weights)
    if op in ("GATHER", "EMBEDDING_LOOKUP"):
        table = places[0] if op == "GATHER" else places[1]
        if table in constant:
            held = _operand(tensors[table])
            return Kernel(str(tensors[table]["name"]), op, 0, held.count, held.bits)
    return None


def _port(details: Any) -> Port:
    sizes = details.get("shape_signature", details["shape"])
    scale, zero_point = details["quantization"]
    return Port(
        str(details["name"]),
        tuple(None if size < 0 else int(size) for size in sizes),
        np.dtype(details["dtype"]).name,
        float(scale),
        int(zero_point),
    )


def _operand(details: Any) -> Operand:
    kind = np.dtype(details["dtype"])
    return Operand(tuple(int(size) for size in details["shape"]), 8 * kind.itemsize)
