"""PT2E: `torch.export`, torchao's quantizer for this CPU, and inductor: what runs is compiled."""

import copy
import importlib.util
import inspect
from operator import attrgetter
from typing import Any

import torch

from pytest_quant.errors import in_brief
from pytest_quant.machine import torch_api
from pytest_quant.quantize.flows.example import Example, holds_no_tensor, narrow
from pytest_quant.quantize.flows.exported import (
    Compiled,
    Exported,
    set_training,
    weight_nodes,
)
from pytest_quant.quantize.flows.flow import FlowRefusal
from pytest_quant.quantize.flows.inductor_quantizer import (
    INDUCTOR_ENGINE,
    config_of,
    quantizer_of,
)
from pytest_quant.quantize.flows.kernel import quietly
from pytest_quant.quantize.flows.mode_askers import answer_eval, is_the_model, mode_askers
from pytest_quant.quantize.flows.named_call import NamedCall
from pytest_quant.quantize.flows.owners import weight_owners
from pytest_quant.quantize.flows.paddings import in_numbers
from pytest_quant.quantize.flows.reserved_names import keyword_name, reserved_name
from pytest_quant.quantize.flows.row_by_row import is_row_by_row
from pytest_quant.quantize.flows.traced import users_line
from pytest_quant.quantize.layer_observers import LayerObservers, calibrated
from pytest_quant.quantize.layer_types import ATTENTION, CONVOLUTIONS, LINEAR
from pytest_quant.quantize.names import kept
from pytest_quant.subject.batches import mapped, taken
from pytest_quant.variant.facts import Facts, Ranges
from pytest_quant.variant.recipe import Recipe

NAME = "pt2e"
ENGINE = INDUCTOR_ENGINE
OBSERVES_ALL = True
SCALES = 12  # bytes of a channel's scale and zero point


def refusal(module: Any, recipe: Recipe) -> str | None:
    """torchao is an extra, inductor's int8 kernels take weights with a scale for each channel, and some
    names cannot be those of a graph."""
    if importlib.util.find_spec("torchao") is None:
        return "it needs torchao (pip install 'pytest-quant[pt2e]')"
    if recipe.engine not in (None, "auto", ENGINE):
        return f"it runs on engine {ENGINE} only, not {recipe.engine}"
    if not recipe.per_channel:
        return "its kernels take per_channel=True only"
    return reserved_name(module) or keyword_name(module)


def prepare(module: Any, recipe: Recipe, engine: str, example: Example) -> Any:
    """The module exported, and with observers (static, dynamic) or fake-quantize modules (QAT).

    For training it is exported in train mode; where modules ask for that, and it is the model no
    longer, their eval mode is exported.
    """
    asked = mode_askers(module, example) if recipe.kind == "qat" else frozenset[str]()
    if not asked:
        return _prepared(module, recipe, example)
    spare = copy.deepcopy(module)
    try:
        made = _prepared(module, recipe, example)
        if is_the_model(rehearsal(made), spare, example):
            return made
    except FlowRefusal:
        pass
    answer_eval(spare, asked)
    return _prepared(spare, recipe, example)


def in_float(module: Any, example: Example) -> Exported:
    """A module as a graph of what its outputs need, with nothing to quantize it.

    Args:
        module: a copy of our own, which is changed.

    Raises:
        Exception: it cannot be exported.
    """
    given, call = _called(module, example)
    with quietly():
        graph, size = _exported(module, given, example.batch)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return Exported(graph, call, size, torch_api.sizes_of_inputs(graph))


def _called(module: Any, example: Example) -> tuple[dict[str, Any], NamedCall]:
    """The tensors of the call by name, and the call; the module's forward is narrowed to it."""
    in_numbers(module)
    values = example.by_name(module)
    if values is None:
        raise FlowRefusal("prepare", NAME, "needs arguments whose names Python takes as names")
    signature = inspect.signature(module.forward)
    rebuild = narrow(module, example)
    given = {name: value for name, value in values.items() if not holds_no_tensor(value)}
    plain = {k: v for k, v in values.items() if v is not None and k not in given}
    is_batched = is_row_by_row(module, given, example.batch)
    return given, NamedCall(signature, tuple(given), plain, rebuild, is_batched)


def _prepared(module: Any, recipe: Recipe, example: Example) -> Any:
    fp32_names = kept(module, recipe.keep_fp32)
    given, call = _called(module, example)
    with quietly():
        pt2e = torch_api.module(torch_api.PT2E)
        try:
            graph, size = _exported(module, given, example.batch)
            sizes = torch_api.sizes_of_inputs(graph)
            torch_api.refuse_unowned(graph)
            torch_api.part_paddings(graph)
            torch_api.part_numbers(graph)
            torch_api.show_linears(graph)
            torch_api.show_parents(graph)
            quantizer = quantizer_of(recipe, fp32_names)
            if recipe.kind == "qat":
                own = _batchnorm_literals(graph)
                graph = pt2e.prepare_qat_pt2e(graph, quantizer)
                _restore(graph, own)
            else:
                graph = pt2e.prepare_pt2e(graph, quantizer)
        except Exception as error:
            raise FlowRefusal(
                "prepare",
                NAME,
                f"cannot export quant_model: {in_brief(error)}{users_line(error)}",
                "Rewrite it without control flow that depends on values.",
            ) from error
    return Exported(graph, call, size, sizes)


def convert(prepared: Any, example: Example) -> Any:
    """The graph in int8, compiled; run once, so that what cannot be compiled fails here."""

    prepared.eval()
    owners = weight_owners(prepared.graph)
    with quietly():
        pt2e = torch_api.module(torch_api.PT2E)
        try:
            with torch.no_grad():
                graph = pt2e.convert_pt2e(prepared.graph)
        except Exception as error:
            raise FlowRefusal(
                "convert", NAME, f"could not convert quant_model: {in_brief(error)}"
            ) from error
    set_training(graph, batchnorm=False, dropout=False)
    _separate_weights(graph)
    _hold_zero(graph)
    _drop_unused(graph)
    return Compiled(prepared, graph, torch_api.form_of_outputs(graph), _int8_modules(graph, owners))


def rehearsal(prepared: Any) -> Any:
    """A copy in eval mode, with fake-quantize modules whose ranges stand still."""
    return copy.deepcopy(prepared).eval()


def facts(recipe: Recipe) -> Facts:
    """Only Linear has a dynamic kernel."""
    dynamic = recipe.kind == "dynamic"
    return Facts(
        f"{recipe.kind} in flow {NAME}",
        Ranges.AT_EACH_CALL if dynamic else Ranges.BEFOREHAND,
        covers=LINEAR | ATTENTION if dynamic else LINEAR | ATTENTION | CONVOLUTIONS,
        scale_bytes=SCALES if recipe.per_channel else 0,
        folds_batchnorm=not dynamic,
        is_compiled=True,
        engine=ENGINE,
    )


def observers(recipe: Recipe, engine: str) -> LayerObservers:
    """As the quantizer's configuration says."""
    config = config_of(calibrated(recipe))
    return LayerObservers(
        lambda _: _observer(config.input_activation), lambda _: _observer(config.weight, "ch_axis")
    )


def _observer(spec: Any, *more: str) -> Any:
    names = ("dtype", "qscheme", "quant_min", "quant_max", *more)
    given = {name: getattr(spec, name) for name in names}
    return spec.observer_or_fake_quant_ctr.with_args(**given)()


def _exported(module: Any, given: dict[str, Any], batch: int) -> tuple[Any, int | None]:
    """The exported graph, and the batch size that it is bound to, None when it takes any.

    Strict export gives each call of a shared module (one ReLU for a whole block) a place of its own,
    without which torchao cannot take a ResNet; not strict is for what strict cannot take. A batch of
    one sample would be fixed in the graph, so that two are exported. Texts and other sequences may be of
    any length where the model takes that; images keep their height and width.
    """

    size = max(2, batch)
    inputs = {name: taken(value, size) for name, value in given.items()}
    free = torch.export.Dim.AUTO

    def all_free(tensor: Any) -> Any:
        is_image = tensor.ndim > 3 and tensor.is_floating_point()
        return only_batch(tensor) if is_image else dict.fromkeys(range(tensor.ndim), free)

    def only_batch(tensor: Any) -> Any:
        return {0: free} if tensor.ndim and tensor.shape[0] == size else None

    errors = []
    for strict in (True, False):
        for dynamic in (mapped(inputs, all_free), mapped(inputs, only_batch), None):
            try:
                program = torch.export.export(
                    module, (), inputs, dynamic_shapes=dynamic, strict=strict
                )
            except Exception as error:
                errors.append(error)
                continue
            graph = program.module()
            takes_any = any(
                each[0] is None for each in torch_api.sizes_of_inputs(graph) if len(each)
            )
            return graph, None if takes_any else size
    raise errors[0]


def _int8_modules(graph: Any, owners: dict[str, str]) -> frozenset[str]:
    """The user's names of the modules whose weights the graph holds in int8, and not in float too.

    An embedding that shares its weight with a head stays float, and so does a layer that has no int8
    kernel in one of its places.
    """
    users = [user for node in weight_nodes(graph) for user in node.users]
    named = {
        name
        for u in users
        for name in (torch_api.owner_of(u), owners.get(u.name, torch_api.owner_of(u)))
    }
    in_float = {
        str(node.target).rpartition(".")[0]
        for node in graph.graph.find_nodes(op="get_attr")
        if _is_float_matrix(attrgetter(node.target)(graph))
    }
    return frozenset(named - in_float)


def _is_float_matrix(tensor: Any) -> bool:
    return isinstance(tensor, torch.Tensor) and tensor.is_floating_point() and tensor.ndim > 1


def _separate_weights(graph: Any) -> None:
    """Give each use of a shared weight scales of its own.

    Inductor merges what is computed twice, and its patterns want a weight that is used once: a layer
    that is called twice would be dequantized and computed in FP32.
    """
    seen = set()
    for node in weight_nodes(graph):
        scales = node.args[1]
        if scales not in seen:
            seen.add(scales)
            continue
        name = f"{scales.target}_of_{node.name}"
        graph.register_buffer(name, getattr(graph, scales.target).clone())
        with graph.graph.inserting_before(node):
            node.update_arg(1, graph.graph.get_attr(name))
    graph.recompile()


def _hold_zero(graph: Any) -> None:
    """Let each range that is found as activations come hold zero.

    Inductor takes the range from the lowest to the highest value, and then clamps the zero point: what
    is positive throughout would be clipped far below its highest value.
    """
    aten = torch.ops.aten
    for node in list(graph.graph.nodes):
        if node.target is torch.ops.quantized_decomposed.choose_qparams.tensor:
            with graph.graph.inserting_before(node):
                low = graph.graph.call_function(aten.amin.default, (node.args[0],))
                high = graph.graph.call_function(aten.amax.default, (node.args[0],))
                low = graph.graph.call_function(aten.clamp_max.default, (low, 0))
                high = graph.graph.call_function(aten.clamp_min.default, (high, 0))
                ends = graph.graph.call_function(aten.stack.default, ([low, high],))
            node.update_arg(0, ends)
    graph.recompile()


def _drop_unused(graph: Any) -> None:
    """Delete tensors that the graph does not use: the FP32 weights, which conversion leaves behind.

    What only asserts a tensor's type or shape goes first, since it would keep the FP32 weight alive.
    """
    for node in list(graph.graph.nodes):
        if node.target is torch_api.metadata_assertion():
            graph.graph.erase_node(node)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    used = {node.target for node in graph.graph.nodes if node.op == "get_attr"}
    tensors = [*graph.named_parameters(), *graph.named_buffers()]
    for name, _ in tensors:
        if name not in used:
            owner, _, attribute = name.rpartition(".")
            delattr(graph.get_submodule(owner), attribute)


def _batchnorm_literals(graph: Any) -> dict[str, tuple[float, float]]:
    """Momentum and epsilon of each batch normalization, by the name of its running mean.

    torchao fuses it into a pattern with PyTorch's default values and forgets the model's own.
    """

    return {
        str(node.args[3].target): (node.args[6], node.args[7])
        for node in graph.graph.nodes
        if node.target is torch.ops.aten.batch_norm.default
    }


def _restore(graph: Any, literals: dict[str, tuple[float, float]]) -> None:

    for node in graph.graph.nodes:
        if node.target is torch.ops.aten.batch_norm.default:
            own = literals.get(str(node.args[3].target))
            if own is not None:
                node.update_arg(6, own[0])
                node.update_arg(7, own[1])
    graph.recompile()
