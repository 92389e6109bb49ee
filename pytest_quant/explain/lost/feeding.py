"""Feeding: which layers take what each operation without a weight makes, straight or through others."""

from collections.abc import Collection, Iterable, Iterator
from typing import Any

import torch

from pytest_quant.explain.lost.tracking import Site, tag_of

BEFORE = "_pytest_quant_before"  # of a tensor: the operations that led to it since the last layer
NO_LAYER = ""  # stands for a product of two activations, which nothing keeps in FP32


class Feeding:
    """Of each operation, the layers that its output comes to before it comes to another layer.

    An operation that feeds no int8 layer is computed in float by a flow that `floats_tail`.
    """

    def __init__(self) -> None:
        self._layers: dict[Site, set[str]] = {}

    def took(self, layer: str, given: Any) -> None:
        """A layer was called.

        Args:
            layer: its name; empty for a product of two activations.
            given: the nest of its arguments.
        """
        for site in _before(given):
            self._layers[site].add(layer)

    def made(self, sites: Iterable[Site], given: Any, output: Any, *, by_layer: bool) -> None:
        """A function was called.

        Args:
            sites: what it stands for among the operations, if it does.
            given: the nest of its arguments.
            output: what it gave.
            by_layer: whether it is a layer, behind which all starts anew.
        """
        for site in sites:
            self._layers.setdefault(site, set())
        before = frozenset[Site]() if by_layer else _before(given).union(sites)
        for tensor in nested_tensors(output):
            setattr(tensor, BEFORE, before)

    def none_of(self, layers: Collection[str]) -> frozenset[Site]:
        """The operations that feed none of some layers, and no product of activations."""
        wanted = {NO_LAYER, *layers}
        return frozenset(site for site, fed in self._layers.items() if fed.isdisjoint(wanted))


def _before(given: Any) -> frozenset[Site]:
    return frozenset[Site]().union(
        *(getattr(tensor, BEFORE, frozenset()) for tensor in nested_tensors(given))
    )


def sites_of(output: Any) -> set[Site]:
    """The operations without a weight that a tensor, or a nest of some, is tagged with."""
    tags = [tag_of(tensor) for tensor in nested_tensors(output)]
    return {tag.site for tag in tags if tag is not None and not tag.layer}


def nested_tensors(given: Any) -> Iterator[Any]:
    """Those among the arguments of a function, or its results."""
    if isinstance(given, torch.Tensor):
        yield given
    elif isinstance(given, list | tuple):
        for each in given:
            yield from nested_tensors(each)
    elif isinstance(given, dict):
        yield from nested_tensors(list(given.values()))
