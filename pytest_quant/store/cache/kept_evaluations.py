"""Kept evaluations: the scores of a pass as an entry of the cache, and back again."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from pytest_quant.variant.evaluation import Evaluation

TEXTS = {"samples": "S24", "outputs": "S16", "irregular": "S24"}
NUMBERS = ("order", "which_input", "labels", "slices", "answers")
PLAIN = ("values", "majority_rate", "fake_quantized")


def evaluation_as_entry(evaluation: Evaluation, notes: list[str]) -> dict[str, Any]:
    """What an entry holds of an evaluation, and of what it noted."""
    arrays = {name: getattr(evaluation, name) for name in (*TEXTS, *NUMBERS)}
    arrays |= {f"scores {name}": scores for name, scores in evaluation.scores.items()}
    arrays["inputs"] = np.array(sorted(evaluation.inputs), dtype="S16")
    known = {name: getattr(evaluation, name) for name in PLAIN}
    known |= {"passed": evaluation.passed.hex(), "notes": notes}
    known |= {"slice_names": evaluation.slice_names}
    return {
        "known": json.dumps(known),
        "arrays": {k: _as_tensor(v) for k, v in arrays.items() if v is not None},
    }


def evaluation_of_entry(content: Mapping[str, Any]) -> tuple[Evaluation, list[str]]:
    """The evaluation that an entry holds, and its notes."""
    known, arrays = json.loads(content["known"]), content["arrays"]
    given: dict[str, Any] = {name: known[name] for name in PLAIN}
    given |= {name: _as_texts(arrays[name], kind) for name, kind in TEXTS.items()}
    given |= {name: arrays[name].numpy() for name in NUMBERS if name in arrays}
    evaluation = Evaluation(
        **given,
        inputs=frozenset(row.tobytes() for row in arrays["inputs"].numpy()),
        scores={
            name.removeprefix("scores "): tensor.numpy()
            for name, tensor in arrays.items()
            if name.startswith("scores ")
        },
        passed=bytes.fromhex(known["passed"]),
        slice_names=tuple(known.get("slice_names", ())),
    )
    return evaluation, known["notes"]


def _as_tensor(array: "np.ndarray[Any, Any]") -> torch.Tensor:
    """Texts of a fixed length become rows of bytes."""
    plain = np.ascontiguousarray(array)
    if plain.dtype.kind == "S":
        plain = plain.view(np.uint8).reshape(len(plain), -1)
    return torch.from_numpy(plain.copy())


def _as_texts(tensor: torch.Tensor, kind: str) -> "np.ndarray[Any, Any]":
    rows = np.ascontiguousarray(tensor.numpy())
    return rows.view(kind).reshape(len(rows))
