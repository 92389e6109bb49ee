"""PyTorch API: each private or deprecated name of PyTorch and torchao that we use, looked up here alone.

Nothing is imported before it is asked for, so that the end of one name breaks only what needs it. A name
whose loss would be silent is checked where it is used, and its loss is an error.
"""

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pytest_quant.errors import QuantStageError, in_brief

AO = "torch.ao.quantization"
FX = "torch.ao.quantization.quantize_fx"
FX_CONFIG = "torch.ao.quantization.fx.custom_config"
PT2E = "torchao.quantization.pt2e.quantize_pt2e"
X86_QUANTIZER = "torchao.quantization.pt2e.quantizer.x86_inductor_quantizer"
PT2E_OBSERVER = "torchao.quantization.pt2e.observer"
PT2E_FAKE_QUANTIZE = "torchao.quantization.pt2e.fake_quantize"
INDUCTOR = "torch._inductor"
PYTREE = "torch.utils._pytree"
# Module -> what is lost without it.
MODULES = {
    AO: "flows eager, fx and parts, dynamic quantization, QConfigs, observers",
    FX: "flows fx and parts",
    FX_CONFIG: "modules that FX must not trace (keep_fp32)",
    "torch.ao.nn.quantized": "int8 layers of flows eager, fx and parts, and of dynamic quantization",
    "torch.ao.quantization.observer": "observers of flows eager, fx and parts",
    PT2E: "flow pt2e",
    X86_QUANTIZER: "flow pt2e",
    PT2E_OBSERVER: "own observers of flow pt2e",
    PT2E_FAKE_QUANTIZE: "QAT with an own observer in flow pt2e",
    INDUCTOR: "flow pt2e, which compiles",
    "torch._dynamo.utils": "how many int8 kernels a compiled model has",
    "torch._subclasses": "flow pt2e: inputs of several lengths",
    "torch.fx.experimental.symbolic_shapes": "flow pt2e: inputs of several lengths",
    "torch.nn.utils.weight_norm": "models under weight_norm in its older form",
    "torch.nn.utils.spectral_norm": "models under spectral_norm in its older form",
    "torch.nn.utils.prune": "models under pruning",
    PYTREE: "flow pt2e: outputs that are no single tensor",
}
# What PyTorch logs though nobody asked; a logger that is gone logs nothing. The last one writes
# thousands of empty lines into what pytest shows of a failing test.
NOISY_LOGGERS = ("torch.utils._pytree", "torch.utils.cpp_extension", "torch.__trace")
KERNEL_COUNTERS = ("qconv_weight_prepack_matcher_count", "qlinear_weight_prepack_matcher_count")
# What a module calls before or after it runs, and what each module of the process calls.
HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
GLOBAL_HOOKS = tuple(f"_global{name}" for name in HOOKS)
STACK = "nn_module_stack"  # of a traced node's meta: the user's modules that it lies in
SOURCES = "source_fn_stack"  # of a traced node's meta: the layers and functions that it came from
ROOT = "L['self']"  # what strict export calls the model itself


def module(name: str) -> Any:
    """One of `MODULES`.

    Raises:
        QuantStageError: this PyTorch has it no more, or torchao is not installed; says what is lost.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise QuantStageError(
            "prepare", f"{name} cannot be imported ({in_brief(error)}), without which there is no "
            f"{MODULES[name]}"
        ) from error  # fmt: skip


def has(name: str) -> str | None:
    """Why one of `MODULES` cannot be imported, in brief; None when it can."""
    try:
        importlib.import_module(name)
    except ImportError as error:
        return in_brief(error)
    return None


def ao() -> Any:
    """``torch.ao.quantization``, which PyTorch has declared deprecated."""
    return module(AO)


def without_eager_mode() -> str | None:
    """That this PyTorch has no ``torch.ao.quantization``, in half a sentence; None when it has."""
    why = has(AO)
    return f"this PyTorch has no eager mode quantization any more ({why})" if why else None


def convolution_base() -> Any:
    """The class of all convolutions. Without it multiply-adds would be unknown."""
    import torch

    return torch.nn.modules.conv._ConvNd


def transposed_base() -> Any:
    """The class of all transposed convolutions, whose weights have output channels second."""
    import torch

    return torch.nn.modules.conv._ConvTransposeNd


def padding_of(layer: Any) -> tuple[int, ...]:
    """What a convolution pads before and after, of the last dimension first."""
    return tuple(layer._reversed_padding_repeated_twice)


def set_padding(layer: Any, sizes: tuple[int, ...], mode: str) -> None:
    """Let a convolution pad so; ``constant``, which is not offered, is what `F.pad` calls zeros."""
    layer.padding_mode = mode
    layer._reversed_padding_repeated_twice = list(sizes)


def batchnorm_base() -> Any:
    """The class of all batch normalizations, which are folded into convolutions."""
    import torch

    return torch.nn.modules.batchnorm._BatchNorm


def norm_base() -> Any:
    """The class of normalizations of batches and of instances."""
    import torch

    return torch.nn.modules.batchnorm._NormBase


def attention_linear() -> Any:
    """The Linear inside attention, whose weight attention reads, so that it is never called."""
    import torch

    return torch.nn.modules.linear.NonDynamicallyQuantizableLinear


def quantized_embeddings() -> tuple[Any, Any]:
    """The classes of int8 Embedding and EmbeddingBag."""
    quantized = module("torch.ao.nn.quantized")
    return quantized.Embedding, quantized.EmbeddingBag


def remove_reparametrization(child: Any, hook: Any) -> bool:
    """Whether a hook computes a module's weight in the older way, and was removed; its result stays."""
    removers = {
        ("torch.nn.utils.weight_norm", "WeightNorm"): "remove_weight_norm",
        ("torch.nn.utils.spectral_norm", "SpectralNorm"): "remove_spectral_norm",
    }
    kind = type(hook)
    if any(each.__name__ == "BasePruningMethod" for each in kind.__mro__):
        module("torch.nn.utils.prune").remove(child, hook._tensor_name)
        return True
    remover = removers.get((kind.__module__, kind.__name__))
    if remover is None:
        return False
    getattr(module(kind.__module__), remover)(child, hook.name)
    for hooks in (child._load_state_dict_pre_hooks, child._state_dict_hooks):
        for key, each in list(hooks.items()):  # spectral_norm's, which PyTorch forgets to take back
            if type(getattr(each, "hook", each)).__module__ == kind.__module__:
                del hooks[key]
    return True


def is_compiled(model: Any) -> bool:
    """Whether torch.compile made a model, which cannot be copied then."""
    return hasattr(model, "_orig_mod")


def is_exported(model: Any) -> bool:
    """Whether it is the graph of a program of torch.export, whose operations are ATen's alone."""
    import torch

    if not isinstance(model, torch.fx.GraphModule):
        return False
    called = [node.target for node in model.graph.nodes if node.op == "call_function"]
    return bool(called) and all(isinstance(each, torch._ops.OpOverload) for each in called)


def unsaved_buffers(child: Any) -> Iterator[tuple[str, Any]]:
    """A module's buffers that no state dict has, by name. Their bytes count all the same."""
    saved = child.state_dict(keep_vars=True)
    for name, buffer in child.named_buffers(recurse=False):
        if name not in saved:
            yield name, buffer


def wrapped(tensor: Any) -> list[Any] | None:
    """The tensors inside a wrapper such as torchao's; None for a plain tensor."""
    flatten = getattr(tensor, "__tensor_flatten__", None)
    return None if flatten is None else [getattr(tensor, name) for name in flatten()[0]]


def packed_classes() -> list[Any]:
    """What packed recurrent weights are in a file: objects of PyTorch's own C++ classes."""
    import torch

    return [torch.ScriptObject]


def owner_of(node: Any) -> str:
    """The user's name of the innermost module that made a node of an exported graph; empty for none."""
    stack = node.meta.get(STACK) or {"": ("", None)}
    return str(list(stack.values())[-1][0]).removeprefix(ROOT).removeprefix(".")


def refuse_unowned(graph: Any) -> None:
    """Nodes must say which of the user's modules made them, or int8 layers would have no names.

    Raises:
        QuantStageError: none of a graph's nodes does.
    """
    called = [node for node in graph.graph.nodes if node.op == "call_function"]
    if called and not any(STACK in node.meta for node in called):
        raise QuantStageError(
            "prepare",
            f"a graph that this PyTorch exports has no {STACK}, so that no layer has a name",
        )


def part_paddings(graph: Any) -> None:
    """Let padding count as an operation of its own, not as a part of the convolution that asked for it:
    torchao looks for convolutions by the layer that a node came from."""
    import torch

    for node in graph.graph.nodes:
        if node.target is torch.ops.aten.pad.default and node.meta.get(SOURCES):
            node.meta[SOURCES] = [(node.name, torch.nn.functional.pad)]


def form_of_outputs(graph: Any) -> Any:
    """How an exported graph's outputs are nested: a pytree's spec."""
    return graph._out_spec


def sizes_of_inputs(graph: Any) -> list[tuple[int | None, ...]]:
    """The sizes of each tensor that an exported graph takes; None where it takes any.

    A symbol that a guard has bound to a number reads like that number.
    """
    values = [node.meta.get("val") for node in graph.graph.find_nodes(op="placeholder")]
    return [
        tuple(int(str(size)) if str(size).isdigit() else None for size in value.shape)
        for value in values
        if hasattr(value, "shape")
    ]


def free_sizes(
    inputs: list[Any], free: list[tuple[bool, ...]]
) -> tuple[list[Any], Callable[[list[Any]], bool]]:
    """Stand-ins of tensors with sizes that are symbols, for inductor to compile a graph for all of them.

    Args:
        inputs: contiguous tensors.
        free: of each one, which of its sizes are.

    Returns:
        The stand-ins, and what tells afterwards whether the compiled graph takes other tensors: not if it
        asked for something of the sizes that these do not fulfil.
    """
    fakes = module("torch._subclasses")
    symbolic = module("torch.fx.experimental.symbolic_shapes")
    dynamic, static = symbolic.DimDynamic.DYNAMIC, symbolic.DimDynamic.STATIC
    environment = symbolic.ShapeEnv()
    mode = fakes.FakeTensorMode(shape_env=environment)
    made = []
    for tensor, sizes in zip(inputs, free, strict=True):
        context = symbolic.StatelessSymbolicContext(
            dynamic_sizes=[dynamic if size else static for size in sizes]
        )
        made.append(mode.from_tensor(tensor, symbolic_context=context))

    def takes(others: list[Any]) -> bool:
        code = environment.produce_guards_expression(made, ignore_static=False)
        return code is None or bool(environment.evaluate_guards_expression(code, others))

    return made, takes


def kernels_found() -> int | None:
    """How many int8 convolutions and Linear layers inductor has made in this process; None when this
    PyTorch does not count them under the names that we know."""
    if has("torch._dynamo.utils"):
        return None
    counters = getattr(module("torch._dynamo.utils"), "counters", None)
    if counters is None:
        return None
    return int(sum(counters["inductor"][name] for name in KERNEL_COUNTERS))


def freeze_observers(prepared: Any) -> None:
    """Let every fake-quantize module keep its range.

    Raises:
        QuantStageError: one cannot, or goes on observing.
    """
    _switch_off(prepared, "disable_observer", "observer_enabled", "goes on observing")


def int8_dtypes() -> list[Any]:
    """The types of at most 8 bits that observers find ranges for; this PyTorch's."""
    import torch

    names = ("quint8", "qint8", "uint8", "int8", "quint4x2")
    return [getattr(torch, name) for name in names if hasattr(torch, name)]


def observing_modules(prepared: Any) -> dict[str, Any]:
    """The observers and fake-quantize modules that a prepared module calls, by name: of activations,
    and in an exported graph of weights too."""
    bases = ("ObserverBase", "FakeQuantizeBase")
    found = {
        name: child
        for name, child in prepared.named_modules(remove_duplicate=False)  # some share one
        if any(base.__name__ in bases for base in type(child).__mro__)
    }
    return {name: child for name, child in found.items() if name.rpartition(".")[0] not in found}


def pass_copies(prepared: Any) -> None:
    """Let every observer and fake-quantize module pass a copy of its values, and round nothing.

    An int8 kernel's outputs are new tensors too: what a model changes in place changes no other tensor.

    Raises:
        QuantStageError: one goes on rounding.
    """
    round_nothing(prepared)
    for child in observing_modules(prepared).values():
        child.register_forward_hook(lambda _module, _args, output: output.clone())


def round_nothing(prepared: Any) -> None:
    """Let every fake-quantize module pass values as they are.

    Raises:
        QuantStageError: one cannot, or goes on rounding.
    """
    _switch_off(prepared, "disable_fake_quant", "fake_quant_enabled", "goes on rounding")


def _switch_off(prepared: Any, method: str, flag: str, otherwise: str) -> None:
    """Call a method of every fake-quantize module, and see that its flag is down."""
    for name, child in _of_class(prepared, "FakeQuantizeBase"):
        _call(name, child, method)
        if bool(getattr(child, flag)[0]):
            raise _lost(name, child, otherwise)


def freeze_batchnorm(prepared: Any) -> None:
    """Let every batch normalization, fused or alone, keep its statistics.

    Raises:
        QuantStageError: one goes on learning.
    """
    for _, child in prepared.named_modules():
        if hasattr(child, "freeze_bn_stats"):
            child.freeze_bn_stats()
    for name, child in prepared.named_modules():
        if isinstance(child, batchnorm_base()):
            inside = prepared.get_submodule(name.rpartition(".")[0])
            if hasattr(inside, "freeze_bn_stats") and child.training:
                raise _lost(name, child, "goes on learning")
            child.eval()


def hooks_of(child: Any) -> tuple[Any, ...]:
    """The hooks that are called when one module runs, by their kind: dicts by number."""
    return tuple(getattr(child, name) for name in HOOKS)


def global_hooks() -> tuple[tuple[tuple[int, Any], ...], ...]:
    """The hooks that are called when any module of the process runs, by their kind."""
    return tuple(tuple(hooks.items()) for hooks in _global_hooks())


def no_global_hooks() -> tuple[tuple[tuple[int, Any], ...], ...]:
    """What `global_hooks` gives when there are none."""
    return tuple(() for _ in GLOBAL_HOOKS)


def set_global_hooks(wanted: tuple[tuple[tuple[int, Any], ...], ...]) -> None:
    """Let those be the hooks; a handle that removes one goes on doing so."""
    for hooks, items in zip(_global_hooks(), wanted, strict=True):
        hooks.clear()
        hooks.update(items)


def _global_hooks() -> list[Any]:
    import torch

    return [getattr(torch.nn.modules.module, name) for name in GLOBAL_HOOKS]


def operator_mode() -> Any:
    """The class of contexts that see each operator with its tensors, below functions and modules."""
    from torch.utils._python_dispatch import TorchDispatchMode

    return TorchDispatchMode


def metadata_assertion() -> Any:
    """The operator by which an exported graph asserts a tensor's type; None where there is none."""
    import torch

    packet = getattr(torch.ops.aten, "_assert_tensor_metadata", None)
    return getattr(packet, "default", None)


def profiler_runs() -> bool:
    """Whether a profiler of PyTorch's is running, which another one would end."""
    import torch

    autograd: Any = torch.autograd
    return bool(autograd._profiler_enabled())


@contextmanager
def without_fast_path() -> Iterator[None]:
    """With attention's fast path off, whose fused kernels read FP32 weights and hide the layers."""
    import torch

    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def int8_matmul() -> Any:
    """Of bfloat16 rows and an int8 weight, with a scale for each row of the weight."""
    import torch

    return torch._weight_int8pack_mm


def int4_kernel() -> tuple[Any, Any]:
    """What packs 4-bit weights for this CPU, and what multiplies by them."""
    import torch

    aten = torch.ops.aten
    return aten._convert_weight_to_int4pack_for_cpu, aten._weight_int4pack_mm_for_cpu


def _of_class(prepared: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Submodules whose class, in either stack, is derived from one of a name."""
    for path, child in prepared.named_modules():
        if any(base.__name__ == name for base in type(child).__mro__):
            yield path, child


def _call(name: str, child: Any, method: str) -> None:
    if not hasattr(child, method):
        raise _lost(name, child, f"has no {method}() any more")
    getattr(child, method)()


def _lost(name: str, child: Any, what: str) -> QuantStageError:
    return QuantStageError(
        "train",
        f"{type(child).__name__} {name} {what}: this PyTorch is another one than this pytest-quant knows. "
        "Install a version of PyTorch that its metadata allow.",
    )
