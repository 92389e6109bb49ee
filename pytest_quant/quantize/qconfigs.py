"""QConfigs: what `torch.ao.quantization` puts behind activations and weights, by engine and recipe."""

from typing import Any

from pytest_quant.machine import torch_api
from pytest_quant.machine.engines import must_reduce_range
from pytest_quant.quantize.activations import default_observer, observer_class
from pytest_quant.quantize.layer_observers import LayerObservers, calibrated
from pytest_quant.quantize.layer_types import EMBEDDING_SCALES, SCALES, TRANSPOSED, WEIGHTED
from pytest_quant.quantize.observers import looking_up
from pytest_quant.variant.facts import Facts, Ranges
from pytest_quant.variant.recipe import Recipe


def qconfig_mapping(recipe: Recipe, engine: str) -> Any:
    """PyTorch's default mapping for the engine, changed where the recipe or the CPU asks for it."""
    import torch

    ao = torch_api.ao()
    qat = recipe.kind == "qat"
    mapping = (
        ao.get_default_qat_qconfig_mapping(engine)
        if qat
        else ao.get_default_qconfig_mapping(engine)
    )
    usual: Any = mapping.global_qconfig
    embedding = ao.default_embedding_qat_qconfig if qat else ao.float_qparams_weight_only_qconfig
    for kind in (torch.nn.Embedding, torch.nn.EmbeddingBag):
        mapping.set_object_type(kind, embedding)
    activation = _activation(recipe, engine, usual)
    weight = _weight(recipe, usual)
    for kind, qconfig in list(mapping.object_type_qconfigs.items()):
        if qconfig is not None and qconfig.activation is usual.activation:
            own_weight = weight if qconfig.weight is usual.weight else qconfig.weight
            mapping.set_object_type(kind, ao.QConfig(activation=activation, weight=own_weight))
    for name in TRANSPOSED:  # whose kernels take one scale for a weight, whatever the engine
        own = ao.QConfig(activation=activation, weight=_per_tensor_weight(qat))
        mapping.set_object_type(getattr(torch.nn, name), own)
    return mapping.set_global(ao.QConfig(activation=activation, weight=weight))


def layer_observers(recipe: Recipe, engine: str) -> LayerObservers:
    """What the mapping lets see each layer, if ranges are calibrated."""
    mapping = qconfig_mapping(calibrated(recipe), engine)

    def qconfig(layer: Any) -> Any:
        return mapping.object_type_qconfigs.get(type(layer)) or mapping.global_qconfig

    return LayerObservers(
        lambda layer: qconfig(layer).activation(), lambda layer: qconfig(layer).weight()
    )


def facts_of_mapped(recipe: Recipe) -> Facts:
    """Of what the flows make that take such a mapping."""
    return Facts(
        recipe.kind,
        Ranges.BEFOREHAND,
        covers=WEIGHTED,
        scale_bytes=SCALES if recipe.per_channel else 0,
        own_scale_bytes=EMBEDDING_SCALES,
        folds_batchnorm=True,
        packs_each=True,
    )


def _weight(recipe: Recipe, usual: Any) -> Any:
    """PyTorch's own choice for the engine where it is the one asked for; for qnnpack it has one scale."""
    import torch

    ao, qat = torch_api.ao(), recipe.kind == "qat"
    if not recipe.per_channel:
        return _per_tensor_weight(qat)
    made = usual.weight()
    if made.qscheme in (torch.per_channel_symmetric, torch.per_channel_affine):
        return usual.weight
    per_channel = (
        "default_per_channel_weight_fake_quant" if qat else "default_per_channel_weight_observer"
    )
    return getattr(ao, per_channel)


def _per_tensor_weight(qat: bool) -> Any:
    ao = torch_api.ao()

    return ao.default_weight_fake_quant if qat else ao.default_weight_observer


def _activation(recipe: Recipe, engine: str, usual: Any) -> Any:
    """What `torch.ao.quantization` puts behind each activation: its own choice for the engine, or what
    the recipe or the CPU asks for instead.

    Args:
        usual: the engine's default qconfig.
    """
    import torch

    reduce_range = must_reduce_range(engine)
    ao = torch_api.ao()
    if recipe.observer is None and recipe.qscheme is None and not reduce_range:
        return looking_up(usual.activation, ao.observer)
    observer = observer_class(default_observer(recipe), ao.observer)
    reduced = reduce_range or engine in ("x86", "fbgemm")
    settings: dict[str, Any] = {
        "dtype": torch.quint8,
        "qscheme": getattr(torch, recipe.qscheme or "per_tensor_affine"),
    }
    if recipe.qscheme == "per_tensor_symmetric":  # PyTorch reduces only affine ranges by itself
        settings |= {"quant_min": 0, "quant_max": 127 if reduced else 255}
    else:
        settings["reduce_range"] = reduced
        if recipe.kind == "qat":
            settings |= {"quant_min": 0, "quant_max": 255}
    if recipe.kind == "qat":
        return ao.FakeQuantize.with_args(observer=observer, **settings)
    return observer.with_args(**settings)
