"""Dynamic quantization as an ONNX file: int8 weights, activations quantized as they come."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytest_quant.errors import NothingToQuantizeError
from pytest_quant.machine.engines import must_reduce_range
from pytest_quant.machine.quiet_loggers import loggers_at
from pytest_quant.quantize.flows import onnx_file as onnx_flow
from pytest_quant.quantize.flows.example import Example
from pytest_quant.quantize.layer_observers import LayerObservers
from pytest_quant.quantize.layer_types import ATTENTION, EMBEDDINGS, LINEAR, SCALES
from pytest_quant.quantize.names import kept
from pytest_quant.runtimes.artefact import Artefact
from pytest_quant.runtimes.fit import Given
from pytest_quant.runtimes.onnx_export import Scopes, folded, module_of
from pytest_quant.variant.facts import Facts, Ranges
from pytest_quant.variant.recipe import Recipe

NAME, ENGINE = onnx_flow.NAME, onnx_flow.ENGINE
COVERED = "Linear, LSTM and Embedding"
# Convolutions too have an integer operator, which ONNX Runtime runs at a third of the speed of float.
OPERATORS = ("MatMul", "Gemm", "LSTM", "Gather")
QUANTIZED = ("MatMulInteger", "DynamicQuantizeLSTM")


def refusal(module: Any, recipe: Recipe) -> str | None:
    """What is not installed."""
    return onnx_flow.missing()


def observers(recipe: Recipe, engine: str) -> LayerObservers | None:
    """There are none."""
    return None


def facts(recipe: Recipe) -> Facts:
    """Of what ONNX Runtime's dynamic quantization makes."""
    return Facts(
        f"{recipe.kind} in flow {NAME}",
        Ranges.AT_EACH_CALL,
        covers=LINEAR | ATTENTION | EMBEDDINGS | {"LSTM"},
        scale_bytes=SCALES if recipe.per_channel else 0,
        own_scale_bytes=dict.fromkeys(EMBEDDINGS, 0),
        engine=ENGINE,
    )


def convert(
    module: Any, recipe: Recipe, example: Example, samples: Sequence[Sequence[Given]] = ()
) -> Artefact:
    """The file that ONNX Runtime runs, in a folder that lives as long as what is returned.

    Args:
        module: our own copy of the FP32 model, in eval mode.
        recipe: `per_channel` applies to Linear; an embedding has one scale for its table.
        example: a call of it.
        samples: of no use here.

    Raises:
        QuantStageError: when it cannot be exported, or has nothing to quantize.
    """
    fp32_names = kept(module, recipe.keep_fp32)

    def finish(path: Path, scopes: Scopes) -> Path:
        return _quantized(folded(path, scopes), scopes, fp32_names, recipe)

    return onnx_flow.exported(NAME, lambda: module, example, finish)


def _quantized(path: Path, scopes: Scopes, kept_names: frozenset[str], recipe: Recipe) -> Path:
    """The file with the nodes of all modules but these quantized; in the place of the one given."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    target = path.with_name(f"{path.stem}.dynamic.onnx")
    excluded = [
        node.name for node in onnx.load(path).graph.node if kept_names & _modules(node, scopes)
    ]
    with loggers_at(logging.ERROR, [""]):  # of the root logger, which it warns by
        quantize_dynamic(
            path,
            target,
            op_types_to_quantize=list(OPERATORS),
            per_channel=recipe.per_channel,
            # weights of 7 bits where products are added in 16 bits
            reduce_range=must_reduce_range(ENGINE),
            weight_type=QuantType.QInt8,
            # a Gemm becomes a product and a sum before it is looked at
            nodes_to_exclude=[*excluded, *(f"{name}_MatMul" for name in excluded)],
            extra_options={"MatMulConstBOnly": True},
        )
    graph = onnx.load(target).graph
    tables = {tensor.name for tensor in graph.initializer if tensor.data_type in _integers(onnx)}
    is_taken = any(
        node.op_type in QUANTIZED or (node.op_type == "Gather" and node.input[0] in tables)
        for node in graph.node
    )
    if not is_taken:
        raise NothingToQuantizeError(
            "convert",
            f"nothing to quantize: ONNX Runtime's dynamic quantization takes {COVERED}, and quant_model "
            f"has none of them{' outside keep_fp32' if kept_names else ''}. Static quantization also "
            "covers convolutions.",
        )
    return target.replace(path)


def _modules(node: Any, scopes: Scopes) -> set[str]:
    """The modules that a node may be of: that whose call it is in, those whose parameters it takes."""
    return {module_of(node.name, scopes), *(name.rpartition(".")[0] for name in node.input)} - {""}


def _integers(onnx: Any) -> tuple[int, ...]:
    return (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
