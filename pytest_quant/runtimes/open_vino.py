"""OpenVINO: files ``.xml`` with their ``.bin``, on its CPU plugin."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from pytest_quant.runtimes.kernel_macs import Operand, convolution, product, recurrent
from pytest_quant.runtimes.runtime import Array, Kernel, Port

NAME, SUFFIX, PACKAGE, EXTRA = "OpenVINO", ".xml", "openvino", "openvino"
PRODUCTION = """\
import openvino
settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY"}
core = openvino.Core()
model = core.read_model(path)
if model.is_dynamic():
    model.reshape({place: list(array.shape) for place, array in enumerate(inputs)})
compiled = core.compile_model(model, "CPU", settings)
results = compiled(inputs)
outputs = [results[place] for place in range(len(compiled.outputs))]
"""
TYPES = {"f32": "float32", "f16": "float16", "f64": "float64", "boolean": "bool", "string": "str"}
Sizes = tuple[tuple[int, ...], ...]  # of each input
ANY: Sizes = ()
FIXED = 6  # such as those of the eval data's batches, the last one, a single sample, the cells of a grid
BITS = {"boolean": 8, "undefined": 32, "dynamic": 32}


def version() -> str:
    """As the protocol says."""
    from importlib.metadata import version as of

    return of("openvino")


def files(path: Path) -> list[Path]:
    """As the protocol says."""
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise ValueError(f"it is no OpenVINO IR ({error})") from None
    if root.tag != "net" or root.find("layers") is None:
        raise ValueError(f"it is no OpenVINO IR: its root is <{root.tag}>, not <net>")
    return [path, path.with_suffix(".bin")]


class OpenVinoSession:
    """A model that takes any sizes is compiled for the sizes of a call, which is faster, for the first few;
    all others share one that takes any."""

    def __init__(self, path: Path, threads: int) -> None:
        import openvino

        self._tensor = openvino.Tensor
        self._core = openvino.Core()
        self._model = self._core.read_model(str(path))
        self._takes_any = self._model.is_dynamic()  # which looks at each of its nodes
        self._settings = _settings(threads)
        self._requests: dict[Sizes, Any] = {}
        self.inputs = tuple(map(_port, self._model.inputs))
        self.outputs = tuple(map(_port, self._model.outputs))

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """As the protocol says."""
        request = self.request(arrays)
        if all(array.ndim and array.flags.writeable for array in arrays):
            for place, array in enumerate(arrays):  # without the checks and copies of `infer`
                request.set_input_tensor(place, self._tensor(array, shared_memory=True))
            request.infer()
        else:
            request.infer(list(arrays))
        return [np.array(request.get_output_tensor(i).data) for i in range(len(self.outputs))]

    def request(self, arrays: Sequence[Array]) -> Any:
        """What runs arrays of these sizes."""
        sizes = tuple(array.shape for array in arrays) if self._takes_any else ANY
        if sizes not in self._requests and len(self._requests) >= FIXED:
            sizes = ANY
        if sizes not in self._requests:
            model = self._model
            if sizes != ANY:
                model = model.clone()
                model.reshape({place: list(each) for place, each in enumerate(sizes)})
            compiled = self._core.compile_model(model, "CPU", self._settings)
            self._requests[sizes] = compiled.create_infer_request()
        return self._requests[sizes]


def load(path: Path, threads: int) -> OpenVinoSession:
    """As the protocol says."""
    return OpenVinoSession(path, threads)


def kernels(path: Path, threads: int, arrays: Sequence[Array]) -> list[Kernel]:
    """As the protocol says: out of the graph that was run."""
    session = OpenVinoSession(path, threads)
    session.run(arrays)
    compiled = session.request(arrays).get_compiled_model()
    every = [_kernel(node) for node in compiled.get_runtime_model().get_ordered_ops()]
    return [kernel for kernel in every if kernel is not None]


def _settings(threads: int) -> dict[str, Any]:
    """One stream of so many threads; float32 where the file says so, since where the CPU has bfloat16 it
    would take that."""
    return {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,
    }


def _port(value: Any) -> Port:
    shape = tuple(
        size.get_length() if size.is_static else None for size in value.get_partial_shape()
    )
    kind = value.get_element_type().get_type_name()
    names = sorted(value.get_names())
    dtype = TYPES.get(kind) or kind.replace("i", "int", 1).replace("u", "uint", 1)
    return Port(names[0] if names else value.node.get_friendly_name(), shape, dtype)


def _kernel(node: Any) -> Kernel | None:
    kind = _text(node.get_rt_info()["layerType"])
    name, sources = node.get_friendly_name(), [each.get_source_output() for each in node.inputs()]
    given, out = [_operand(each) for each in node.inputs()], list(map(_operand, node.outputs()))
    if kind in ("Convolution", "Deconvolution"):
        outer = 2 if len(given[1].shape) > len(out[0].shape) else 1  # groups come first
        is_transposed = kind == "Deconvolution"
        return convolution(
            name, kind, given[0], given[1], out[0], is_transposed=is_transposed, outer=outer
        )
    if kind in ("FullyConnected", "MatMul"):
        is_constant = _text(sources[1].node.get_rt_info()["layerType"]) == "Const"
        return product(
            name, kind, given[0], given[1], out[0],
            is_constant=is_constant or kind == "FullyConnected",
        )  # fmt: skip
    if kind in ("RNNSeq", "RNNCell"):
        weights = [each for each in given if len(each.shape) == 3 and each.shape[0] <= 2][-2:]
        steps = given[0].count // given[0].shape[-1]
        return recurrent(name, kind, steps, weights)
    if kind == "Gather" and _text(sources[0].node.get_rt_info()["layerType"]) == "Const":
        return Kernel(name, kind, 0, given[0].count, given[0].bits)
    return None


def _operand(value: Any) -> Operand:
    shape = tuple(size.get_length() if size.is_static else 1 for size in value.get_partial_shape())
    kind = value.get_element_type().get_type_name()
    return Operand(shape, BITS.get(kind) or int("".join(filter(str.isdigit, kind)) or 32))


def _text(value: Any) -> str:
    return str(value.astype(str)) if hasattr(value, "astype") else str(value)
