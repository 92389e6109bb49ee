"""ONNX export: a module as an ONNX file whose constants are folded, so that weights are stored as int8."""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from pytest_quant.runtimes.artefact import arguments_of, named_outputs
from pytest_quant.subject.batches import size_of, tensors_in

OPSET = 20
NOISY = ("torch.onnx", "onnxscript", "onnx_ir")


def export_onnx(
    module: Any, args: Sequence[Any], kwargs: Mapping[str, Any], outputs: Any, path: Path
) -> Path:
    """Write a module as an ONNX file.

    Args:
        module: in eval mode; computes by operators that PyTorch's exporter knows.
        args, kwargs: of one call, with two samples or more, so that another number will do too.
        outputs: of that call.
        path: of the file.

    Raises:
        Exception: whatever the exporter or ONNX Runtime raises for what it does not know.
    """
    samples = size_of([*args, *kwargs.values()])
    names = arguments_of(module)
    tensors = [*zip(names, args, strict=False), *kwargs.items()]
    inputs = [name for name, value in tensors for _ in tensors_in(value)]
    results = [name for name, _ in named_outputs(outputs)]
    free = {name: _free(value, samples) for name, value in tensors}
    whole = path.with_name(f"{path.stem}.whole.onnx")
    with _quietly():
        exported = torch.export.export(
            module, tuple(args), dict(kwargs), dynamic_shapes=free, strict=False
        )
        _fix_scales(exported)
        program = torch.onnx.export(
            exported,
            dynamo=True,
            opset_version=OPSET,
            input_names=inputs if len(set(inputs)) == len(inputs) else None,
            output_names=[str(name) for name in results] if all(results) else None,
            verbose=False,
        )
    assert program is not None  # with dynamo there is one
    program.save(str(whole))
    _fold(whole, path)
    whole.unlink()
    return path


def _fix_scales(exported: Any) -> None:
    """Make numbers of scales and zero points that are buffers, which the exporter does not take."""
    operators = torch.ops.quantized_decomposed
    plain = {
        operators.quantize_per_tensor.tensor: operators.quantize_per_tensor.default,
        operators.dequantize_per_tensor.tensor: operators.dequantize_per_tensor.default,
    }
    buffers = exported.graph_signature.inputs_to_buffers
    held = {**exported.constants, **exported.state_dict}
    for node in exported.graph.nodes:
        if node.target in plain:
            scale, zero_point = (held[buffers[each.name]].item() for each in node.args[1:3])
            node.target = plain[node.target]
            node.args = (node.args[0], float(scale), int(zero_point), *node.args[3:])
    exported.graph_module.recompile()


def _free(value: Any, samples: int) -> Any:
    """Which sizes may be others: that of the batch, and of texts and series the length."""
    if isinstance(value, torch.Tensor):
        if not value.ndim or value.shape[0] != samples:
            return None
        sizes = (
            1 if value.ndim >= 4 else value.ndim
        )  # features, which weights fix, are found to be fixed
        return dict.fromkeys(range(sizes), torch.export.Dim.AUTO)
    if isinstance(value, Mapping):
        return {name: _free(part, samples) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_free(part, samples) for part in value)
    return None


def _fold(source: Path, path: Path) -> None:
    """Weights that are quantized in the graph are stored so, as ONNX Runtime would make them at load."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what the exporter tells of its own steps."""
    loggers = [logging.getLogger(name) for name in NOISY]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
