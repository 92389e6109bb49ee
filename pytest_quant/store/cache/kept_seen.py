"""Kept seen: what calibrated the model, or a loop of the user's gave it, as a part of an entry, and back
again.

A build from the cache tunes nothing; whether its inputs were like the eval inputs is asked again.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from pytest_quant.subject.shift.traits import Seen, Traits

ARRAYS = ("moments", "columns", "broken")


def seen_as_entry(seen: Seen) -> dict[str, Any]:
    """Tensors and numbers that tell all of it."""
    parts = {path: [_as_entry(part) for part in own] for path, own in seen.parts.items()}
    return {"samples": seen.samples, "parts": parts}


def seen_of_entry(content: Mapping[str, Any]) -> Seen:
    """The same again."""
    parts = {path: [_of_entry(part) for part in own] for path, own in content["parts"].items()}
    return Seen(content["samples"], parts)


def _as_entry(part: Traits) -> dict[str, Any]:
    arrays = {name: array for name in ARRAYS if (array := getattr(part, name)) is not None}
    return {
        "arrays": {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()},
        "texts": [torch.from_numpy(np.array(each)) for each in part.texts],
        "low": float(part.low),
        "high": float(part.high),
        "counts": bool(part.counts),
    }


def _of_entry(content: Mapping[str, Any]) -> Traits:
    arrays = {name: tensor.numpy() for name, tensor in content["arrays"].items()}
    texts = [tensor.numpy() for tensor in content["texts"]]
    return Traits(**arrays, texts=texts, **{n: content[n] for n in ("low", "high", "counts")})
