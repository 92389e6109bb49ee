"""Calibrators: from batches of a tensor to a range, by PyTorch's observers and by ONNX Runtime."""

import contextlib
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

LEVELS = 128  # of PyTorch's x86 engine for activations

Batches = list[torch.Tensor]
Range = tuple[float, float]
Calibrator = Callable[[Batches], tuple[Range, float]]  # the range, and the seconds to find it


def pytorchs(observer: Any) -> Calibrator:
    """Range and seconds of an observer class."""

    def calibrated(batches: Batches) -> tuple[Range, float]:
        own = observer.with_args(dtype=torch.quint8, reduce_range=True)()
        started = time.perf_counter()
        for batch in batches:
            own(batch)
        scale, zero_point = own.calculate_qparams()
        seconds = time.perf_counter() - started
        low = 0.0 - float(scale) * int(zero_point)
        return (low, low + float(scale) * (LEVELS - 1)), seconds

    return calibrated


def onnx_runtimes(method: str, **options: Any) -> Calibrator:
    """Range and seconds of one of ONNX Runtime's calibrators."""

    def calibrated(batches: Batches) -> tuple[Range, float]:
        from onnxruntime.quantization import calibrate

        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            calibrator = calibrate.create_calibrator(
                casting_model(Path(folder)),
                augmented_model_path=f"{folder}/augmented.onnx",
                calibrate_method=calibrate.CalibrationMethod[method],
                extra_options=options,
            )
            started = time.perf_counter()
            calibrator.collect_data(reader(batches))
            low, high = (end.item() for end in calibrator.compute_data()["x"].range_value)
            return (low, high), time.perf_counter() - started

    return calibrated


def casting_model(folder: Path) -> str:
    """An ONNX model whose only float tensor is its input ``x``."""
    import onnx
    from onnx import TensorProto, helper

    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])
    y = helper.make_tensor_value_info("y", TensorProto.INT32, ["n"])
    cast = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.INT32)
    graph = helper.make_graph([cast], "cast", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "cast.onnx")
    return str(folder / "cast.onnx")


def reader(batches: Batches) -> Any:
    """The batches as ONNX Runtime's calibrators read them."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        left = iter(batches)

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.left, None)
            return None if batch is None else {"x": batch.numpy()}

    return Reader()
