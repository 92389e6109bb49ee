"""FX graph mode of `torch.ao.quantization`: traces, fuses conv-bn-relu, observes, converts."""

import importlib
import inspect
import linecache
import traceback
from pathlib import Path
from typing import Any

from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.quantize.engines import must_reduce_range
from pytest_quant.quantize.names import kept, roots_of
from pytest_quant.recipe import Recipe

NAME = "fx"


def prepare(module: Any, recipe: Recipe, engine: str, args: tuple[Any, ...], kwargs: Any) -> Any:
    """The module traced, fused and with observers (static) or fake-quantize modules (QAT).

    Args:
        module: our own copy of the FP32 model, whose forward is narrowed to the call's arguments.
        recipe: kind ``static`` or ``qat``.
        engine: already set by the caller.
        args, kwargs: of one call of the model; tracing sees exactly these arguments.

    Raises:
        QuantStageError: when FX cannot trace the model; names the operation and the user's line.
    """
    fx = _quantize_fx()
    fp32_names = kept(module, recipe.keep_fp32)
    mapping = _qconfig_mapping(recipe, engine)
    for name in (*fp32_names, *_sealed(module)):
        mapping.set_module_name(name, None)
    custom = _custom_config(list(roots_of(fp32_names)))
    inputs = _narrowed(module, args, kwargs)
    prepare_fx = fx.prepare_qat_fx if recipe.kind == "qat" else fx.prepare_fx
    try:
        return prepare_fx(module, mapping, inputs, prepare_custom_config=custom)
    except Exception as error:
        raise QuantStageError(
            "prepare",
            f"flow fx cannot trace quant_model: {in_brief(error)}{_users_line(error)}. "
            "Rewrite it without control flow that depends on values, keep the submodule out with "
            "keep_fp32, or quantize it yourself with Recipe('custom', build=...).",
        ) from error


def is_observed(prepared: Any) -> bool:
    """Whether anything in the prepared module is to be quantized."""
    return any("activation_post_process" in name for name, _ in prepared.named_modules())


def unobserved(prepared: Any) -> list[str]:
    """Names of the activation observers that no sample has passed."""
    import torch

    unseen = []
    for name, child in prepared.named_modules():
        observer = getattr(child, "activation_post_process", child)
        low, high = getattr(observer, "min_val", None), getattr(observer, "max_val", None)
        if "activation_post_process" not in name or not isinstance(low, torch.Tensor):
            continue
        if low.numel() == 0 or (isinstance(high, torch.Tensor) and bool((low > high).any())):
            unseen.append(name)
    return unseen


def convert(prepared: Any) -> Any:
    """The quantized module. The prepared one is used up."""
    fx = _quantize_fx()
    prepared.eval()
    without_training(prepared)
    try:
        return fx.convert_fx(prepared).eval()
    except Exception as error:
        raise QuantStageError(
            "convert",
            f"flow fx could not convert quant_model: {in_brief(error)}. Keep the layer "
            "FP32 with keep_fp32.",
        ) from error


def without_training(graph_module: Any) -> None:
    """Switch off functional dropout that tracing in train mode has fixed in the graph as on."""
    import torch

    # function -> keyword and position of what says whether, or how much, it drops; and off
    drops = {
        torch.dropout: ("train", 2, False),
        torch.feature_dropout: ("train", 2, False),
        torch.alpha_dropout: ("train", 2, False),
        torch.nn.functional.scaled_dot_product_attention: ("dropout_p", 4, 0.0),
    }
    changed = False
    for node in graph_module.graph.nodes:
        if node.op != "call_function":
            continue
        keyword, position, off = drops.get(node.target, ("training", None, False))
        if node.kwargs.get(keyword):
            node.update_kwarg(keyword, off)
            changed = True
        elif position is not None and len(node.args) > position:
            node.update_arg(position, off)
            changed = True
    if changed:
        graph_module.recompile()


def _quantize_fx() -> Any:
    """PyTorch's FX quantization, which is deprecated and one day will be gone."""
    try:
        from torch.ao.quantization import quantize_fx
    except ImportError as error:
        raise QuantStageError(
            "prepare",
            f"this PyTorch has no FX quantization any more ({in_brief(error)}); install "
            "torch<2.16, or quantize the model yourself with Recipe('custom', build=...)",
        ) from error
    return quantize_fx


def _custom_config(not_traced: list[str]) -> Any:
    from torch.ao.quantization.fx.custom_config import PrepareCustomConfig

    return PrepareCustomConfig().set_non_traceable_module_names(not_traced)


def _sealed(module: Any) -> list[str]:
    """Names of all modules inside those of PyTorch's that FX takes as a whole: attention, encoders.

    QAT would put fake-quantize modules in there, which are never converted.
    """
    import torch

    nn = torch.nn
    looked_into = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
    whole = [
        f"{name}."
        for name, child in module.named_modules()
        if name
        and type(child).__module__.startswith("torch.nn.modules.")
        and not isinstance(child, looked_into)
    ]
    return [name for name, _ in module.named_modules() if name.startswith(tuple(whole))]


def _narrowed(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """Give the module a forward with just the call's arguments, and return those in order.

    FX makes a value of every parameter of forward, also of those that are None, and would then take
    both branches of ``if labels is not None``. An argument given as None is still accepted, and is a
    constant inside.
    """
    original = type(module).forward
    parameters = inspect.signature(original).parameters
    bound = inspect.signature(original).bind(module, *args, **kwargs)
    given = dict(list(bound.arguments.items())[1:])  # without self
    kinds = {name: parameters[name].kind for name in given}
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    whole = len(parameters) == len(given) + 1 and all(v is not None for v in given.values())
    if whole or any(kind in variadic for kind in kinds.values()):
        return (*args, *kwargs.values())
    accepted, passed, optional = [], [], False
    for name, value in given.items():
        optional = optional or value is None
        accepted.append(f"{name}=None" if optional else name)
        inner = "None" if value is None else name
        positional = kinds[name] is inspect.Parameter.POSITIONAL_ONLY
        passed.append(inner if positional else f"{name}={inner}")
    space: dict[str, Any] = {"original": original}
    head = f"def forward(self, {', '.join(accepted)}):"
    exec(f"{head}\n    return original(self, {', '.join(passed)})", space)
    module.__class__ = type(type(module).__name__, (type(module),), {"forward": space["forward"]})
    return tuple(given.values())


def _qconfig_mapping(recipe: Recipe, engine: str) -> Any:
    """PyTorch's default mapping for the engine, changed where the recipe or the CPU asks for it."""
    ao: Any = importlib.import_module("torch.ao.quantization")

    qat = recipe.kind == "qat"
    mapping = (
        ao.get_default_qat_qconfig_mapping(engine)
        if qat
        else ao.get_default_qconfig_mapping(engine)
    )
    usual: Any = mapping.global_qconfig
    activation = _activation(recipe, engine, usual)
    weight = usual.weight if recipe.per_channel else _per_tensor_weight(qat)
    if activation is usual.activation and weight is usual.weight:
        return mapping
    for kind, qconfig in list(mapping.object_type_qconfigs.items()):
        if qconfig is not None and qconfig.activation is usual.activation:
            own_weight = weight if qconfig.weight is usual.weight else qconfig.weight
            mapping.set_object_type(kind, ao.QConfig(activation=activation, weight=own_weight))
    return mapping.set_global(ao.QConfig(activation=activation, weight=weight))


def _activation(recipe: Recipe, engine: str, usual: Any) -> Any:
    import torch

    ao: Any = importlib.import_module("torch.ao.quantization")

    reduce_range = must_reduce_range(engine)
    if recipe.observer is None and not reduce_range:
        return usual.activation
    observers = {
        "histogram": ao.HistogramObserver,
        "minmax": ao.MinMaxObserver,
        "moving_average": ao.MovingAverageMinMaxObserver,
    }
    default = "moving_average" if recipe.kind == "qat" else "histogram"
    observer = observers[recipe.observer or default]
    reduced = reduce_range or engine in ("x86", "fbgemm")
    settings = {
        "dtype": torch.quint8,
        "quant_min": 0,
        "quant_max": 127 if reduced else 255,
        "reduce_range": reduced,
    }
    if recipe.kind == "qat":
        return ao.FakeQuantize.with_args(observer=observer, **settings)
    return observer.with_args(dtype=torch.quint8, reduce_range=reduced)


def _per_tensor_weight(qat: bool) -> Any:
    ao: Any = importlib.import_module("torch.ao.quantization")

    return ao.default_weight_fake_quant if qat else ao.default_weight_observer


def _users_line(error: BaseException) -> str:
    """Where in the user's own code it happened: ``(model.py:12: if x.sum() > 0:)``."""
    import torch

    library = (f"{Path(torch.__file__).parent}/", f"{Path(__file__).parents[2]}/")
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        ours = frame.filename.startswith((*library, "<"))
        if not ours and not frame.filename.endswith("/typing_extensions.py"):
            line = linecache.getline(frame.filename, frame.lineno or 0).strip()
            return f" ({Path(frame.filename).name}:{frame.lineno}: {line})"
    return ""
