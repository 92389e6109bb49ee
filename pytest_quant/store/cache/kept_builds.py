"""Kept builds: a variant as an entry of the cache, and back again bit for bit."""

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_quant.errors import QuantStageError
from pytest_quant.machine.conditions import Conditions
from pytest_quant.quantize.build import build
from pytest_quant.quantize.built import Built
from pytest_quant.quantize.methods.registry import facts_of
from pytest_quant.quantize.saved.variant_file import described, restored
from pytest_quant.runtimes.artefact import Artefact
from pytest_quant.runtimes.kept_files import files_as_entry, files_of_entry
from pytest_quant.store.cache.kept_seen import seen_as_entry, seen_of_entry
from pytest_quant.subject.batches import call, size_of
from pytest_quant.subject.digests import digests
from pytest_quant.subject.subject import Admitted
from pytest_quant.variant.recipe import Recipe
from pytest_quant.variant.running import running_as_built


def build_as_entry(built: Built, admitted: Admitted) -> dict[str, Any]:
    """What an entry holds of a variant: of QAT its trained state, of a file of another runtime the file, of
    others what `Variant.save` writes.

    Raises:
        QuantStageError: it cannot be saved.
    """
    known = {
        "recipe": built.recipe.to_dict() | {"keep_fp32": list(map(str, built.recipe.keep_fp32))},
        "tuned_on": sorted(digest.hex() for digest in built.tuned_on),
        "notes": built.notes,
        "refused": built.refused,
        "outputs": _outputs(built.module, built.recipe, admitted),
    }
    content: dict[str, Any] = {"known": json.dumps(known)}
    if built.seen is not None:
        content["seen"] = seen_as_entry(built.seen)
    if built.fake_quantized is not None:
        return content | {"state": built.fake_quantized.state_dict()}
    if isinstance(built.module, Artefact):
        return content | {"artefact": files_as_entry(built.module)}
    return content | {"variant": described(built.module, built.recipe, admitted)}


def build_of_entry(
    content: Mapping[str, Any],
    path: Path,
    asked: Recipe,
    admitted: Admitted,
    conditions: Conditions,
) -> Built:
    """The variant that an entry holds.

    Raises:
        QuantStageError: what it holds does not give the bits that it gave.
    """
    start = time.perf_counter()
    known = json.loads(content["known"])
    if "state" in content:
        taken = _recipe_of(known["recipe"], asked)
        trained = replace(admitted.subject, qat_state=dict(content["state"]))
        made = build(replace(admitted, subject=trained), taken, conditions)
        module, recipe, before = made.module, made.recipe, made.fake_quantized
    elif "artefact" in content:
        module, before = files_of_entry(content["artefact"], admitted), None
        recipe = _recipe_of(known["recipe"], asked)
    else:
        loaded = restored(content["variant"], path, admitted.module)
        module, recipe, before = loaded.model, loaded.recipe, None
    if _outputs(module, recipe, admitted) != known["outputs"]:
        raise QuantStageError("load", f"{path} gives other outputs here than it gave")
    return Built(
        module,
        _recipe_of(known["recipe"], asked),
        before,
        frozenset(map(bytes.fromhex, known["tuned_on"])),
        {"load": time.perf_counter() - start},
        tuple(known["notes"]),
        tuple(known["refused"]),
        seen=seen_of_entry(content["seen"]) if "seen" in content else None,
    )


def _recipe_of(plain: dict[str, Any], asked: Recipe) -> Recipe:
    """The recipe that was taken: as it was asked for, with what building found."""
    found = Recipe.from_dict(plain)
    more = found.keep_fp32[len(asked.keep_fp32) :]  # layers that had to stay FP32
    return replace(
        asked,
        flow=found.flow,
        engine=found.engine,
        device=found.device,
        keep_fp32=(*asked.keep_fp32, *more),
    )


def _outputs(module: Any, recipe: Recipe, admitted: Admitted) -> list[str]:
    """Digests of its outputs for the first eval batch."""
    inputs = admitted.first_inputs
    with running_as_built(module, recipe, facts_of(recipe)):
        outputs = call(module, inputs, admitted.subject.forward)
    return [digest.hex() for digest in digests(outputs, size_of(inputs))]
