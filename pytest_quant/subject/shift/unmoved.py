"""Unmoved: what draws random numbers in the user's data is left where it was."""

import random
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

MOST_OBJECTS = 500  # that are looked at: loader, sampler, dataset, its transforms
MOST_ITEMS = 50  # of a list or dict; longer ones are data


@contextmanager
def unmoved(data: Any) -> Iterator[None]:
    """In which the data may be read; all random generators that it holds are then as before."""
    with ExitStack() as undo:
        for each in _generators(data):
            if isinstance(each, np.random.Generator):
                undo.callback(setattr, each.bit_generator, "state", each.bit_generator.state)
            elif isinstance(each, random.Random):
                undo.callback(each.setstate, each.getstate())
            else:  # PyTorch's, and NumPy's older one
                undo.callback(each.set_state, each.get_state())
        yield


def _generators(data: Any) -> Iterator[Any]:
    import torch

    kinds = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
    seen, waiting = set[int](), [data]
    while waiting and len(seen) < MOST_OBJECTS:
        each = waiting.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, kinds):
            yield each
        elif isinstance(each, torch.nn.Module | torch.Tensor | np.ndarray | type | str):
            continue
        elif isinstance(each, Mapping):
            waiting += list(each.values()) if len(each) <= MOST_ITEMS else []
        elif isinstance(each, list | tuple):
            waiting += each if len(each) <= MOST_ITEMS else []
        elif hasattr(each, "__dict__"):
            waiting += vars(each).values()
