"""Observers of activations: ``percentile``, ``entropy`` and ``mse``, and PyTorch's ``histogram``, quicker.

PyTorch has two quantization stacks, torch.ao and torchao, and each takes only observers derived from
its own base class. So `activation_observer` derives the same observer from either. An observer needs
33 kB, whatever it sees; all batches count alike, in whatever order they come.
"""

import importlib
import warnings
from collections.abc import Callable
from dataclasses import fields
from functools import cache
from typing import Any

from pytest_quant.quantize.histogram import Bins, Histogram
from pytest_quant.quantize.histogram_search import kept_bins
from pytest_quant.quantize.ranges import Range, entropy_range, mse_range, percentile_range
from pytest_quant.quantize.squared_error import Levels

PERCENTILE = 99.99

# What the class names of the two stacks end in, so that pickle can tell them apart.
STACKS = {"ao": "torch.ao.quantization.observer", "pt2e": "torchao.quantization.pt2e.observer"}


def activation_observer(name: str, observers: Any) -> Any:
    """An observer class for one of PyTorch's stacks; always the same one for the same arguments.

    Use it like PyTorch's own: ``activation_observer("mse", torch.ao.quantization)
    .with_args(dtype=torch.quint8, reduce_range=True)`` in a QConfig, or ``.with_args(eps=2**-12)``
    in a QuantizationSpec of torchao. It honours dtype, qscheme (per tensor, affine or symmetric),
    quant_min, quant_max, reduce_range and eps.

    Args:
        name: ``histogram``, ``percentile``, ``entropy`` or ``mse``.
        observers: the stack's module with UniformQuantizationObserverBase, such as
            ``torch.ao.quantization.observer`` or ``torchao.quantization.pt2e.observer``.

    Raises:
        ValueError: an unknown name.
    """
    if name not in OBSERVERS:
        raise ValueError(f"no observer {name!r} is defined here; there are {', '.join(OBSERVERS)}")
    base = "HistogramObserver" if name == "histogram" else "UniformQuantizationObserverBase"
    return _derived(name, getattr(observers, base))


def looking_up(made: Any, observers: Any) -> Any:
    """What makes an observer, with our own `HistogramObserver` in the place of PyTorch's.

    Args:
        made: an observer's class, or what its ``with_args`` gives.
        observers: the stack's module that it is of.
    """
    given = getattr(made, "p", None)
    kind = made if given is None else given.func
    if kind is not observers.HistogramObserver:
        return made
    own = activation_observer("histogram", observers)
    return own if given is None else own.with_args(*given.args, **given.keywords)


class _ClippingObserver:
    """What an observer does on top of the stack's base class: count values, then find a range."""

    min_val: Any
    max_val: Any
    qscheme: Any
    quant_min: int
    quant_max: int
    eps: Any
    register_buffer: Callable[..., None]
    _calculate_qparams: Callable[..., tuple[Any, Any]]

    def __init__(self, **arguments: Any) -> None:
        import torch

        super().__init__(**arguments)
        shared = (torch.per_tensor_affine, torch.per_tensor_symmetric)
        if self.qscheme not in shared or arguments.get("is_dynamic"):
            raise NotImplementedError(
                f"{type(self).__name__} finds one static range for a tensor; given qscheme "
                f"{self.qscheme}, is_dynamic {bool(arguments.get('is_dynamic'))}"
            )
        empty = Histogram.empty()
        for field in fields(Histogram):
            self.register_buffer(field.name, getattr(empty, field.name))

    @property
    def histogram(self) -> Histogram:
        """Of all values observed; shares its tensors with the observer's buffers."""
        return Histogram(**{field.name: getattr(self, field.name) for field in fields(Histogram)})

    def forward(self, x: Any) -> Any:
        """Count the values of `x`, and return it as it is."""
        histogram = self.histogram
        all_finite = not histogram.non_finite
        histogram.add(x)
        if all_finite and histogram.non_finite:
            warnings.warn(
                f"{histogram.non_finite} of {x.numel()} activations are NaN or infinite. They have "
                "no int8 value and are left out of the calibration.",
                stacklevel=2,
            )
        return x

    def calculate_qparams(self, **_: Any) -> tuple[Any, Any]:
        """Scale and zero point, [1] both; 1 and 0 with PyTorch's warning if nothing was seen."""
        import torch

        if self.min_val > self.max_val:
            return self._calculate_qparams(self.min_val, self.max_val)
        low, high = self._range(self.histogram.bins())
        place = self.min_val.device
        return self._calculate_qparams(
            torch.tensor(low, device=place), torch.tensor(high, device=place)
        )

    def extra_repr(self) -> str:
        """For the representation of a prepared model."""
        return f"min_val={self.min_val}, max_val={self.max_val}"

    def _range(self, bins: Bins) -> Range:
        raise NotImplementedError

    def _levels(self) -> Levels:
        import torch

        count, zero = self.quant_max - self.quant_min + 1, None
        if self.qscheme == torch.per_tensor_symmetric:
            _, zero_point = self._calculate_qparams(torch.tensor(-1.0), torch.tensor(1.0))
            zero = int(zero_point) - self.quant_min
        return Levels(count, zero, float(self.eps))


class _PercentileObserver(_ClippingObserver):
    def __init__(self, percentile: float = PERCENTILE, **arguments: Any) -> None:
        super().__init__(**arguments)
        if not 0 < percentile <= 100:
            raise ValueError(f"percentile is {percentile!r}; expected more than 0 and at most 100")
        self.percentile = percentile

    def _range(self, bins: Bins) -> Range:
        return percentile_range(bins, self.percentile)


class _EntropyObserver(_ClippingObserver):
    def _range(self, bins: Bins) -> Range:
        return entropy_range(bins, self._levels())


class _MSEObserver(_ClippingObserver):
    def _range(self, bins: Bins) -> Range:
        return mse_range(bins, self._levels())


class _HistogramObserver:
    """PyTorch's own, which looks its range up; PyTorch's takes up to a third of a second for that."""

    histogram: Any
    bins: int
    min_val: Any
    max_val: Any
    _compute_quantization_error: Callable[[int, int], float]

    def _non_linear_param_search(self) -> tuple[Any, Any]:
        first, last = kept_bins(self.histogram, self._compute_quantization_error)
        width = (self.max_val - self.min_val) / self.bins
        return self.min_val + width * first, self.min_val + width * (last + 1)


OBSERVERS: dict[str, type[Any]] = {
    "histogram": _HistogramObserver,
    "percentile": _PercentileObserver,
    "entropy": _EntropyObserver,
    "mse": _MSEObserver,
}


@cache
def _derived(name: str, base: Any) -> Any:
    """The class itself, which no module's source spells out; `__getattr__` finds it for pickle."""
    own = OBSERVERS[name]
    title = own.__name__.removeprefix("_")
    stack = next((key for key, module in STACKS.items() if module == base.__module__), "other")
    names = {"__module__": __name__, "__qualname__": f"{title}_{stack}", "__doc__": own.__doc__}
    return type(base)(title, (own, base), names)


def __getattr__(attribute: str) -> Any:
    title, _, stack = attribute.rpartition("_")
    for name, own in OBSERVERS.items():
        if own.__name__ == f"_{title}" and stack in STACKS:
            return activation_observer(name, importlib.import_module(STACKS[stack]))
    raise AttributeError(f"module {__name__!r} has no attribute {attribute!r}")
