"""TFLite: a file for LiteRT written by hand, since its converter does not install beside every PyTorch."""

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "int8": schema.TensorType.INT8,
    "int32": schema.TensorType.INT32,
}


def linear_file(path, weight, bias, *, scales=None, batch=1):
    """One Linear, in float or in int8.

    Args:
        weight: [out, in].
        bias: [out].
        scales: of input and output; None for float.
        batch: samples in a call; -1 is any.
    """
    model = schema.ModelT()
    model.version, model.description = 3, b"one linear"
    graph, empty = schema.SubGraphT(), schema.BufferT()
    model.buffers, model.subgraphs, graph.tensors = [empty], [graph], []

    def tensor(name, shape, dtype, data=None, scale=None):
        made = schema.TensorT()
        made.name, made.type = name.encode(), TYPES[dtype]
        made.shape = [max(1, size) for size in shape]
        if -1 in shape:
            made.shapeSignature = list(shape)
        if data is not None:
            held = schema.BufferT()
            held.data = np.ascontiguousarray(data).view(np.uint8).flatten()
            made.buffer = len(model.buffers)
            model.buffers.append(held)
        if scale is not None:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = [scale], [0]
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    kind = "float32" if scales is None else "int8"
    into, out = scales or (None, None)
    given = tensor("serving_default_x:0", [batch, weight.shape[1]], kind, scale=into)
    if scales is None:
        held = tensor("w", weight.shape, "float32", weight.astype(np.float32))
        added = tensor("b", bias.shape, "float32", bias.astype(np.float32))
    else:
        step = float(np.abs(weight).max() / 127)
        held = tensor("w", weight.shape, "int8", np.round(weight / step).astype(np.int8), step)
        whole = np.round(bias / (step * into)).astype(np.int32)
        added = tensor("b", bias.shape, "int32", whole, step * into)
    result = tensor("out", [batch, weight.shape[0]], kind, scale=out)
    operator, code = schema.OperatorT(), schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = 4 if scales else 1
    model.operatorCodes = [code]
    operator.inputs, operator.outputs = [given, held, added], [result]
    operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    operator.builtinOptions = schema.FullyConnectedOptionsT()
    graph.operators, graph.inputs, graph.outputs = [operator], [given], [result]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path
