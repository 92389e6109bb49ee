"""Contenders that are not PyTorch: ONNX Runtime and OpenVINO, FP32 and int8, on the same weights.

Both get what is fastest for them: the batch size is fixed before the graph is optimized, latency is
the goal, and threads that wait within a call may spin. OpenVINO computes what stays FP32 in FP32,
not in bfloat16, which it would take by itself where the CPU has it, as no other contender does.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from engine_contenders import MB, Contender, Run, Task
from engine_models import ONNX
from torch import Tensor

from pytest_quant.machine.cpu import has_vnni


def onnxruntime(task: Task) -> Contender:
    """FP32, static int8 (quantize and dequantize nodes, per channel, 8-bit unsigned activations) or
    dynamic int8."""
    import onnxruntime as ort

    path = task.folder / ONNX
    if "int8" in task.contender:
        path = _quantized(task, path)
    options = ort.SessionOptions()
    options.intra_op_num_threads = task.threads
    options.inter_op_num_threads = 1
    options.add_free_dimension_override_by_name("batch", task.batch)
    options.add_session_config_entry("session.force_spinning_stop", "1")  # not between the calls
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def bind(inputs: Tensor) -> Run:
        fed = {"input": inputs.numpy()}
        return lambda: session.run(None, fed)[0]

    return Contender(bind, path.stat().st_size / MB, nullcontext)


def _quantized(task: Task, path: Path) -> Path:
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = task.folder / f"{task.contender.replace('/', ' ')} prepared.onnx"
    made = task.folder / f"{task.contender.replace('/', ' ')}.onnx"
    quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
    common: dict[str, Any] = {"per_channel": True, "weight_type": quantization.QuantType.QInt8}
    common["reduce_range"] = not has_vnni()
    if "dynamic" in task.contender:
        quantization.quantize_dynamic(str(prepared), str(made), **common)
        return made

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.left: Iterator[Tensor] = iter(task.inputs.split(task.batch))

        def get_next(self) -> dict[str, Any] | None:
            part = next(self.left, None)
            return None if part is None else {"input": part.numpy()}

    quantization.quantize_static(
        str(prepared),
        str(made),
        Reader(),
        quant_format=quantization.QuantFormat.QDQ,
        activation_type=quantization.QuantType.QUInt8,
        **common,
    )
    return made


def openvino(task: Task) -> Contender:
    """FP32, or int8 by NNCF's post-training quantization; the LSTM's too."""
    import openvino as ov

    core = ov.Core()
    model = core.read_model(str(task.folder / ONNX))
    inputs = task.inputs
    model.reshape([task.batch, *inputs.shape[1:]])
    if "int8" in task.contender:
        model = _by_nncf(task, model)
    path = task.folder / f"{task.contender.replace('/', ' ')}.xml"
    ov.save_model(model, str(path), compress_to_fp16=False)
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": task.threads,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    request = core.compile_model(model, "CPU", settings).create_infer_request()

    def bind(inputs: Tensor) -> Run:
        fed = ov.Tensor(inputs.numpy(), shared_memory=True)

        def run() -> Any:
            request.set_input_tensor(fed)
            request.infer()
            return request.get_output_tensor().data

        return run

    return Contender(bind, path.with_suffix(".bin").stat().st_size / MB, nullcontext)


def _by_nncf(task: Task, model: Any) -> Any:
    import nncf

    parts = list(task.inputs.split(task.batch))
    kind = nncf.ModelType.TRANSFORMER if task.model.startswith("vit") else None
    return nncf.quantize(
        model,
        nncf.Dataset(parts, lambda part: part.numpy()),
        subset_size=len(parts),
        model_type=kind,
        target_device=nncf.TargetDevice.CPU,
    )


def as_tensor(outputs: Any) -> Tensor:
    """A contender's outputs as a tensor of their own."""
    return outputs.clone() if isinstance(outputs, Tensor) else torch.from_numpy(outputs.copy())
