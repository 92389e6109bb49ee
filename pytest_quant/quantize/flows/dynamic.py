"""Dynamic quantization: int8 weights, activations quantized as they come (`quantize_dynamic`)."""

import copy
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from pytest_quant.errors import NothingToQuantizeError, QuantStageError, in_brief, listed
from pytest_quant.machine import torch_api
from pytest_quant.quantize.flows.lookups import (
    has_embedding_kernel,
    paddings_of,
    take_any_ids,
)
from pytest_quant.quantize.flows.reads import (
    answer,
    answer_for_parameters,
    reads_of,
    with_parameters,
    with_values,
)
from pytest_quant.quantize.layer_types import (
    EMBEDDING_SCALES,
    EMBEDDINGS,
    LINEAR,
    RECURRENT,
    SCALES,
)
from pytest_quant.quantize.names import kept
from pytest_quant.quantize.second_names import second_names, share_again
from pytest_quant.variant.facts import Facts, Ranges
from pytest_quant.variant.recipe import Recipe
from pytest_quant.variant.running import running_as_built

NAME = "eager"
COVERED = "Linear, LSTM, GRU, RNNCell, LSTMCell, GRUCell, Embedding and EmbeddingBag"


def refusal() -> str | None:
    """Why `quantize_dynamic` cannot be had, in half a sentence; None when it can."""
    return torch_api.without_eager_mode()


def facts(recipe: Recipe) -> Facts:
    """Of what `quantize_dynamic` makes."""
    return Facts(
        recipe.kind,
        Ranges.AT_EACH_CALL,
        covers=LINEAR | RECURRENT | EMBEDDINGS,
        scale_bytes=SCALES if recipe.per_channel else 0,
        own_scale_bytes=EMBEDDING_SCALES | dict.fromkeys(RECURRENT, 0),
        packs_each=True,
    )


def convert(
    module: Any, recipe: Recipe, engine: str, run: Callable[[Any], object] | None = None
) -> Any:
    """The module with every layer quantized for which PyTorch has dynamic kernels.

    A layer whose weights the model computes with itself, besides calling it or instead, stays FP32: a
    quantized layer's weight is no tensor.

    Args:
        module: our own copy of the FP32 model.
        recipe: `per_channel` applies to Linear; recurrent layers have one scale for each weight.
        engine: already set by the caller.
        run: makes one call of a module like this one.

    Raises:
        QuantStageError: when there is nothing to quantize, or PyTorch cannot.
    """
    import torch

    ao = torch_api.ao()

    fp32_names = kept(module, recipe.keep_fp32)
    linear = ao.per_channel_dynamic_qconfig if recipe.per_channel else ao.default_dynamic_qconfig
    nn = torch.nn
    by_type: dict[type, Any] = {nn.Linear: linear}
    recurrent = (nn.LSTM, nn.GRU, nn.LSTMCell, nn.GRUCell, nn.RNNCell)
    by_type |= dict.fromkeys(recurrent, ao.default_dynamic_qconfig)
    by_type |= dict.fromkeys((nn.Embedding, nn.EmbeddingBag), ao.float_qparams_weight_only_qconfig)
    chosen = {
        name: by_type[type(child)]
        for name, child in module.named_modules()
        if type(child) in by_type and name not in fp32_names and _has_kernel(child)
    }
    if not chosen:
        raise NothingToQuantizeError(
            "prepare",
            f"nothing to quantize: dynamic quantization has kernels for {COVERED}, and "
            f"quant_model has none of them{' outside keep_fp32' if fp32_names else ''}"
            f"{_but(module, by_type)}. Static quantization also covers convolutions.",
        )
    paddings = paddings_of(module)
    if "" in chosen:  # the model is itself such a layer, and quantize_dynamic only swaps children
        return take_any_ids(convert_alone(module, chosen[""]), paddings)
    run_once = partial(_run_as_built, module, recipe, run) if run else None
    found = reads_of(module, chosen, run_once) if run_once else {}
    if read := with_values(found):
        chosen = {name: qconfig for name, qconfig in chosen.items() if name not in read}
        _refuse_none(chosen, read)
    uncalled = _uncalled(module, chosen, run_once) if run_once else set()
    if run and uncalled and not _runs(_converted(copy.deepcopy(module), chosen), recipe, run):
        rest = {name: qconfig for name, qconfig in chosen.items() if name not in uncalled}
        chosen = rest or chosen  # with none left, let the model fail on its own
    before = {name: module.get_submodule(name) for name in chosen}
    owners = with_parameters(module)
    converted = take_any_ids(_converted(module, chosen), paddings)
    for name, layer in before.items():
        answer(converted.get_submodule(name), layer, found.get(name, {}))
    if run:
        answer_for_parameters(converted, owners, lambda: _run_as_built(converted, recipe, run))
    return converted


def _but(module: Any, by_type: Mapping[type, Any]) -> str:
    """That there are layers with code of their own, as the end of a sentence."""
    kinds = {type(child) for child in module.modules() if isinstance(child, tuple(by_type))}
    theirs = sorted(kind.__name__ for kind in kinds if kind.__module__.split(".")[0] != "torch")
    if not theirs:
        return ""
    return f" but subclasses with code of their own, which no kernel runs ({listed(theirs, 3)})"


def _refuse_none(chosen: Collection[str], read: Collection[str]) -> None:
    if not chosen:
        named = listed(sorted(read), 3)
        raise NothingToQuantizeError(
            "prepare",
            f"nothing to quantize: quant_model computes with the weights of {named} itself, and an int8 "
            "layer has none to read. Call the layers, or use static quantization.",
        )


def _converted(module: Any, chosen: dict[str, Any]) -> Any:
    ao, again = torch_api.ao(), second_names(module)
    try:
        converted = ao.quantize_dynamic(module, chosen, inplace=True)
        share_again(converted, again)
        return converted
    except Exception as error:
        raise QuantStageError(
            "convert",
            f"quantize_dynamic could not take quant_model: {in_brief(error)}. Keep the "
            "layer FP32 with keep_fp32, or use static quantization.",
        ) from error


def _uncalled(module: Any, names: Collection[str], run_once: Callable[[], object]) -> set[str]:
    """Which of these submodules the model does not call; off attention's fast path, which calls none."""
    called = set[str]()
    hooks = [
        module.get_submodule(name).register_forward_hook(lambda *_, name=name: called.add(name))
        for name in names
    ]
    try:
        run_once()
    finally:
        for hook in hooks:
            hook.remove()
    return set(names) - called


def _run_as_built(model: Any, recipe: Recipe, run: Callable[[Any], object]) -> None:
    with running_as_built(model, recipe, facts(recipe)):
        run(model)


def _runs(converted: Any, recipe: Recipe, run: Callable[[Any], object]) -> bool:
    try:
        _run_as_built(converted, recipe, run)
    except Exception:
        return False
    return True


def convert_alone(layer: Any, qconfig: Any) -> Any:
    """A model that is one single layer, quantized: held by a Sequential, then taken out again."""
    import torch

    ao = torch_api.ao()

    return ao.quantize_dynamic(torch.nn.Sequential(layer), {"0": qconfig}, inplace=True)[0]


def _has_kernel(module: Any) -> bool:
    """PyTorch's int8 LSTM has no projection; of embeddings see `has_embedding_kernel`."""
    return not getattr(module, "proj_size", 0) and has_embedding_kernel(module)
