"""ONNX export: a module as an ONNX file whose constants are folded, so that weights are stored as int8."""

import ast
import copy
import logging
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pytest_quant.machine import torch_api
from pytest_quant.machine.quiet_loggers import loggers_at
from pytest_quant.runtimes.artefact import Artefact, arguments_of, called_so, named_outputs, ordered
from pytest_quant.runtimes.only_call import OnlyCall
from pytest_quant.runtimes.own_folder import OwnFolder
from pytest_quant.runtimes.runtime import Kernel
from pytest_quant.subject.batches import size_of, tensors_in
from pytest_quant.subject.samples import taken

OPSET = 20
NOISY = ("torch.onnx", "onnxscript", "onnx_ir", *torch_api.NOISY_LOGGERS)
MORE = re.compile(
    r"(_token_\d+|_in_float|_pre_q|_nchwc|_quant|_MatMul)*(/.*)?$"
)  # which runtimes put behind a name
ACTIVATIONS = ("Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish")
Scopes = Mapping[str, str]  # by node and output, the name of the module that it is of
Finish = Callable[[Path, Scopes], Path]


def onnx_file(
    module: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    threads: int,
    name: str,
    finish: Finish,
) -> Artefact:
    """A module as an ONNX file, in a folder that lives as long as what is returned.

    Args:
        module: in eval mode; computes by operators that PyTorch's exporter knows.
        args, kwargs: of one call; of a single sample two are made, since what is exported with one takes
            no more.
        threads: that the file computes with.
        name: of the file, without its suffix.
        finish: what is made of the exported file, such as `folded`, given its path and by node the name of
            the module that it is of.

    Raises:
        QuantStageError: as `called_so`.
        Exception: whatever the exporter or ONNX Runtime raises for what it does not know.
    """
    args, kwargs = tuple(args), ordered(kwargs, arguments_of(module))
    if size_of([*args, *kwargs.values()]) == 1:
        args = tuple(taken(value, 2) for value in args)
        kwargs = {key: taken(value, 2) for key, value in kwargs.items()}
    with torch.no_grad():
        outputs = copy.deepcopy(module)(*args, **kwargs)
    folder, seen = OwnFolder(), OnlyCall(args, kwargs, outputs)
    path, scopes = _export(module, seen, folder.path / f"{name}.onnx")
    made = called_so(finish(path, scopes), module, seen, threads)
    made.told = replace(made.told, kernels=_by_module(made.told.kernels, scopes))
    made.folder = folder
    return made


def _export(module: Any, seen: OnlyCall, path: Path) -> tuple[Path, dict[str, str]]:
    args, kwargs = seen.args, seen.kwargs
    samples = size_of([*args, *kwargs.values()])
    names = arguments_of(module)
    tensors = [*zip(names, args, strict=False), *kwargs.items()]
    inputs = [name for name, value in tensors for _ in tensors_in(value)]
    results = [name for name, _ in named_outputs(seen.outputs)]
    free = {name: _free(value, samples) for name, value in tensors}
    with warnings.catch_warnings(), loggers_at(logging.CRITICAL, NOISY):
        warnings.simplefilter("ignore")
        exported = torch.export.export(module, args, kwargs, dynamic_shapes=free, strict=False)
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
    for value in program.model.graph.inputs:
        _tell_fixed_sizes(value)
    program.save(str(path))
    return path, _scopes(program.model.graph)


def _tell_fixed_sizes(value: Any) -> None:
    """Write as numbers the sizes that were to be free and that the model fixed, as an LSTM its length."""
    if value.shape is not None:
        for place, size in enumerate(value.shape):
            if not isinstance(size, int) and str(size.value).isdigit():
                value.shape[place] = int(size.value)


def module_of(node: str, scopes: Scopes) -> str:
    """The module that a node is of, empty for none; what a runtime has made of a node is named after it or
    its output, with more behind."""
    return scopes.get(node) or scopes.get(MORE.sub("", node.removeprefix("fused ")), "")


def _by_module(kernels: tuple[Kernel, ...] | None, scopes: Scopes) -> tuple[Kernel, ...] | None:
    """Kernels under the names of the user's modules, where these are known."""
    if kernels is None:
        return None
    return tuple(replace(each, name=module_of(each.name, scopes) or each.name) for each in kernels)


def _scopes(graph: Any) -> dict[str, str]:
    """By the names of nodes and their outputs, the name of the module that each is of: the one that owns
    its parameters, since a batch normalization becomes one with the layer before it; else the innermost."""
    found = dict[str, str]()
    for node in graph:
        owners = [
            str(each.name).rpartition(".")[0]
            for each in node.inputs
            if each is not None and each.name in graph.initializers
        ]
        scopes = ast.literal_eval(node.metadata_props.get("pkg.torch.onnx.name_scopes", "[]"))
        scope = str(scopes[-2]) if len(scopes) > 1 else ""  # the last one is the operation
        scope = next(filter(None, owners), scope)
        found[str(node.name)] = scope
        if node.op_type in ACTIVATIONS:  # what is one with it is named after its output
            scope = found.get(str(node.inputs[0].name)) or scope
        found |= {str(each.name): scope for each in node.outputs}
    return found


def _fix_scales(exported: Any) -> None:
    """Make numbers of scales and zero points that are buffers, which the exporter does not take."""
    operators = torch.ops.quantized_decomposed
    if not hasattr(operators, "quantize_per_tensor"):  # nobody has loaded what would quantize
        return
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


def folded(path: Path, _: Scopes) -> Path:
    """The file as ONNX Runtime would make it at load: weights quantized in the graph are stored so.

    Operators that it has no kernel for are replaced by several, such as HardSwish, for which OpenVINO has
    one.
    """
    import onnxruntime

    whole = path.rename(path.with_name(f"{path.stem}.whole.onnx"))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(whole), options, providers=["CPUExecutionProvider"])
    whole.unlink()
    return path
