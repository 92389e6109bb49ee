"""Kept state: whether two runs of a model differ by chance, or by what it keeps between its calls."""

import pickle
import random
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from pytest_quant.errors import listed
from pytest_quant.subject.digests import digests

SHOWN = 3  # attributes


class Unlike(NamedTuple):
    """Why two runs on the same inputs differ.

    Args:
        is_random: random numbers of PyTorch, NumPy or Python were drawn.
        kept: the attributes, parameters and buffers of the model that a call changes.
    """

    is_random: bool
    kept: list[str]

    @property
    def what(self) -> str:
        """In half a sentence, of a model that is not random."""
        if self.kept:
            return f"it keeps {listed(self.kept, SHOWN, counted=True)} from one call to the next"
        return (
            "no random number was drawn from a global generator and no attribute changed, so that it has a "
            "generator of its own, or keeps something outside the model"
        )


def why_unlike(model: Any, run: Callable[[Any], Any], unused: Any = None) -> Unlike:
    """What one more run of a model draws and changes.

    Args:
        model: a module, or anything else that can be called, into which nobody looks.
        run: calls it.
        unused: the same, which nobody has called yet; None where there is none. Its first call tells of
            what no later one changes.
    """
    drawn = random_states()
    kept = _changed(model, run)
    is_random = random_states() != drawn
    if not (kept or is_random or unused is None):
        kept = _changed(unused, run)
    return Unlike(is_random, kept)


def _changed(model: Any, run: Callable[[Any], Any]) -> list[str]:
    before = _marks(model)
    run(model)
    after = _marks(model)
    return [name for name in after if after[name] != before.get(name)]


def random_states() -> tuple[bytes, ...]:
    """Where the random numbers of PyTorch, NumPy and Python stand."""
    import torch

    found = (np.random.get_state(legacy=False), random.getstate())
    return (torch.get_rng_state().numpy().tobytes(), *map(pickle.dumps, found))


def _marks(model: Any) -> dict[str, Any]:
    """What tells whether each attribute, parameter and buffer of a module is as it was, by name."""
    import torch

    if not isinstance(model, torch.nn.Module):
        return {}
    of_each = vars(torch.nn.Module())
    found = {}
    for name, child in model.named_modules():
        own = {key: value for key, value in vars(child).items() if key not in of_each}
        own |= dict(child.named_parameters(recurse=False)) | dict(
            child.named_buffers(recurse=False)
        )
        for key, value in own.items():
            found[f"{name}.{key}".removeprefix(".")] = _mark(value)
    return found


def _mark(value: Any) -> Any:
    try:
        for name in ("get_state", "getstate"):  # of generators
            if callable(getattr(value, name, None)):
                value = getattr(value, name)()
        if isinstance(value, np.random.Generator):
            value = value.bit_generator.state
        return digests(value, 1)
    except Exception:  # of what nobody can look into
        return None
