"""Variant file: a variant as one file, of weights and recipe, and back again bit for bit.

A quantized module cannot be pickled and loaded elsewhere; its state dict can, into a module that is
rebuilt after the same recipe. What is read is never unpickled (``weights_only=True``) beyond tensors.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.machine.atomic_write import write_atomically
from pytest_quant.quantize.flows import parts
from pytest_quant.quantize.flows.example import Example, calls_of, example_of
from pytest_quant.quantize.later_calls import kept_calls
from pytest_quant.quantize.methods.registry import facts_of
from pytest_quant.quantize.names import kept, roots_of
from pytest_quant.quantize.rebuild import rebuild
from pytest_quant.quantize.saved.architecture import architecture, difference
from pytest_quant.quantize.saved.call import call_as_json, call_like, refuse_large
from pytest_quant.quantize.saved.known_outputs import Probe
from pytest_quant.quantize.saved.tensor_file import as_bytes, content_of
from pytest_quant.runtimes.artefact import Artefact
from pytest_quant.subject.fp32_copy import fp32_copy
from pytest_quant.subject.subject import Admitted, Subject
from pytest_quant.variant.recipe import Recipe
from pytest_quant.variant.running import running_as_built
from pytest_quant.variant.variant import Variant

FORM = "pytest-quant variant"
VERSION = 3  # of the file's form; a reader refuses another one
FIELDS: dict[str, type] = {
    "form": str,
    "version": int,
    "torch": str,
    "recipe": str,
    "call": str,
    "fp32": str,
    "modules": str,
    "pattern": str,
    "ranges": str,
    "outputs": list,
    "state": dict,
}


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """A quantized model from a file. Call it as the FP32 model is called.

    Args:
        model: the quantized module; run it inside `running`.
        recipe: that it was made after, with the flow and engine that were taken.
        torch: version of PyTorch that made it; the same one gives the same bits.
    """

    model: Any
    recipe: Recipe
    torch: str

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with self.running():
            return self.model(*args, **kwargs)

    def running(self) -> AbstractContextManager[None]:
        """In which the model runs as it was built: engine, inference mode, attention."""
        return running_as_built(self.model, self.recipe, facts_of(self.recipe))


def save(variant: Variant, path: str | Path) -> Path:
    """Write a variant's weights and recipe; see `Variant.save`."""
    recipe = variant.recipe
    if isinstance(variant.model, Artefact):
        raise QuantStageError(
            "save", f"{variant.name} is a file already; Variant.export writes it where you want it."
        )
    if recipe is None or not variant.facts.is_known:
        what = "FP32 is yours" if recipe is None else "its build is yours"
        raise QuantStageError("save", f"{variant.name} cannot be saved: {what}; save it yourself.")
    with variant.isolated(), variant.fp32.held():
        variant.refuse_moved_fp32()
        with variant.held():
            content = described(variant.model, recipe, variant.admitted)
        return write_atomically(Path(path), as_bytes(content))


def described(model: Any, recipe: Recipe, admitted: Admitted) -> dict[str, Any]:
    """What a file of a variant holds.

    Args:
        model: the quantized module, in the modes in which it was made.
        recipe: with the flow and engine that were taken.
        admitted: what it was made of.

    Raises:
        QuantStageError: of a file of another runtime.
    """
    if isinstance(model, Artefact):
        raise QuantStageError("save", "what another runtime runs is a file already")
    module, facts = admitted.module, facts_of(recipe)
    example = example_of(module, admitted)
    names = tuple(roots_of(kept(module, recipe.keep_fp32)))  # a file's types would be imported
    call = call_as_json(_with_parts(example, model, module) if facts.by_parts else example)
    call["parts"] |= {k: v for k, v in kept_calls(model).items() if k not in call["parts"]}
    refuse_large(call)
    with running_as_built(model, recipe, facts):
        state = model.state_dict()
        probe = Probe.of(model, example)
    return {
        "form": FORM,
        "version": VERSION,
        "torch": str(torch.__version__),
        "recipe": json.dumps(replace(recipe, keep_fp32=names).to_dict()),
        "call": json.dumps(call),
        "fp32": fingerprint(module),
        "modules": json.dumps(architecture(module)),
        "pattern": probe.pattern,
        "ranges": json.dumps(probe.ranges),
        "outputs": probe.outputs,
        "state": state,
    }


def load_variant(path: str | Path, model: Any) -> Loaded:
    """Read a variant that `Variant.save` wrote.

    Args:
        path: of the file.
        model: an FP32 module of the same architecture, or a Subject of one; its weights do not matter,
            and it is not changed.

    Returns:
        The quantized model, which gives the same bits as the one that was saved, with the same
        version of PyTorch on a CPU with the same instruction set.

    Raises:
        QuantStageError: the file is missing, damaged, foreign, of a later version, or of another
            model, or its engine is not in this PyTorch; says which.
    """
    return restored(_read(Path(path)), path, model)


def restored(content: Mapping[str, Any], path: str | Path, model: Any) -> Loaded:
    """The variant that a file's content is of; see `load_variant`."""
    module, _ = fp32_copy(model.model if isinstance(model, Subject) else model)
    if fingerprint(module) != content["fp32"]:
        raise _another_model(path, "names, shapes or types of the parameters differ")
    try:
        why = difference(json.loads(content["modules"]), architecture(module))
        recipe, call = Recipe.from_dict(json.loads(content["recipe"])), json.loads(content["call"])
        refuse_large(call)
        made: Any = None if why else rebuild(module, recipe, call_like(call, module))
    except Exception as error:
        reason = error.sentence if isinstance(error, QuantStageError) else in_brief(error)
        raise QuantStageError("load", f"{path} cannot be rebuilt here: {reason}") from error
    if why:
        raise _another_model(path, why)
    with running_as_built(made, recipe, facts_of(recipe)):
        try:
            _fit(made, content["state"])
            made.load_state_dict(content["state"])
        except Exception as error:
            raise QuantStageError(
                "load",
                f"{path} was made by torch {content['torch']}, and its weights do not fit the module "
                f"that torch {torch.__version__} builds: {in_brief(error, lines=3)}. Load it with that "
                "version.",
            ) from error
        try:
            probe = Probe(content["pattern"], json.loads(content["ranges"]), content["outputs"])
            why = probe.unlike(made, call)
        except Exception as error:
            why = f"it cannot run ({in_brief(error)})"
    if why:
        raise _another_model(path, f"once loaded, {why}")
    return Loaded(made, recipe, content["torch"])


def _another_model(path: str | Path, why: str) -> QuantStageError:
    return QuantStageError(
        "load",
        f"{path} holds a variant of another model: {why}. Give load_variant the FP32 model that it was "
        "made of.",
    )


def _with_parts(example: Example, model: Any, fp32: Any) -> Example:
    """With the calls of the parts that flow parts has quantized, which depend on the inputs' values."""
    names = [name for name, child in model.named_modules() if parts.is_part(child)]
    calls = calls_of(
        {name: fp32.get_submodule(name) for name in names},
        lambda: fp32(*example.args, **example.kwargs),
        alike=True,
    )
    return replace(example, parts=calls)


def fingerprint(module: Any) -> str:
    """What tells architectures apart: a digest of all names, shapes and types of the state dict."""
    parts = [
        f"{name} {list(getattr(value, 'shape', []))} {getattr(value, 'dtype', '')}"
        for name, value in module.state_dict().items()
    ]
    return hashlib.sha256("\n".join([type(module).__name__, *parts]).encode()).hexdigest()


def _read(path: Path) -> Any:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise QuantStageError("load", f"{path} cannot be read: {in_brief(error)}.") from error
    content = content_of(data, path)
    form = content.get("form")
    if not isinstance(form, str) or form != FORM:
        raise QuantStageError(
            "load", f"{path} is no variant that pytest-quant has saved; Variant.save writes one."
        )
    version = content.get("version")
    if type(version) is not int or version != VERSION:
        shown = repr(version) if isinstance(version, str | int | None) else type(version).__name__
        raise QuantStageError(
            "load", f"{path} has form {shown}; this pytest-quant reads form {VERSION}. "
            "Install the one that wrote it, or save the variant again."
        )  # fmt: skip
    if missing := FIELDS.keys() - content.keys():
        raise QuantStageError("load", f"{path} lacks {', '.join(sorted(missing))}.")
    for name, kind in FIELDS.items():
        if not isinstance(content[name], kind):
            raise QuantStageError(
                "load", f"{path} is damaged: it has a {type(content[name]).__name__} for {name}."
            )
    return content


def _fit(module: Any, state: dict[str, Any]) -> None:
    """Make room for tensors whose shape follows from their values, as a codebook's does."""
    for name, value in state.items():
        owner, _, attribute = name.rpartition(".")
        if not isinstance(value, torch.Tensor) or not hasattr(module, "get_submodule"):
            continue
        try:
            holder = module.get_submodule(owner)
        except AttributeError:
            continue
        own = holder._buffers.get(attribute)
        if own is not None and own.shape != value.shape:
            holder._buffers[attribute] = torch.empty_like(value)
