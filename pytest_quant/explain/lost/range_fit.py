"""Range fit: how well the range of a place fits what passes it."""

from dataclasses import dataclass
from typing import Any

import torch

from pytest_quant.explain.lost.simulation import Simulation
from pytest_quant.explain.lost.tracking import LayerTracking, Site, Tag
from pytest_quant.explain.lost.weighted import owners_of
from pytest_quant.subject.batches import call


@dataclass(frozen=True, slots=True)
class Fit:
    """A range, and the activations of some samples.

    Args:
        saturated: share of the activations that it clips, in [0, 1].
        used: share of its levels that hold 99.8 % of them, in [0, 1].
        outlier: the largest magnitude of a channel, in medians of the channels'; 1 where there are none.
    """

    saturated: float
    used: float
    outlier: float


def fits_of(simulation: Simulation, inputs: Any) -> dict[Site, Fit]:
    """The fit at every place where the model rounds activations, for FP32's own on these inputs."""
    watch = _Fitting(simulation)
    watch.forward(lambda: call(simulation.module, inputs, simulation.subject.forward))
    return watch.fits


def outlier_of(values: Any, axis: int) -> float:
    """The largest channel's magnitude, as a multiple of the median channel's.

    Args:
        values: of any shape with at least two channels along the axis, else 1.0.
    """
    if values.ndim < 2 or values.shape[axis] < 3:
        return 1.0
    largest = values.detach().abs().movedim(axis, 0).flatten(1).amax(1)
    median = float(largest.median())
    return float(largest.max()) / median if median > 0 else 1.0


class _Fitting(LayerTracking):
    def __init__(self, simulation: Simulation) -> None:
        names = owners_of(simulation.layers)
        super().__init__(names, simulation.fused, not simulation.compiled)
        self.simulation = simulation
        self.fits: dict[Site, Fit] = {}

    def entering(self, layer: str, values: Any, site: Site, tag: Tag | None) -> Any:
        self._look(site, values)
        return values

    def leaving(self, values: Any, tag: Tag) -> Any:
        self._look(tag.site, values)
        return values

    def passing(self, values: Any, tag: Tag, site: Site) -> Any:
        self._look(tag.site, values)
        return values

    def _look(self, site: Site, values: Any) -> None:
        grid = self.simulation.grids.get(site)
        if site in self.fits or grid is None or grid.axis is not None or not values.numel():
            return
        kinds = (torch.nn.Linear, torch.nn.MultiheadAttention)
        linear = isinstance(self.simulation.layers.get(site[0]), kinds)
        outlier = outlier_of(values, -1 if linear else 1) if values.ndim > 1 else 1.0
        self.fits[site] = Fit(grid.saturated(values), grid.used(values), outlier)
