"""Known outputs: what a variant gives, saved and loaded, for inputs made of a few numbers."""

import contextlib
import copy
import math
from dataclasses import dataclass
from typing import Any

import torch

from pytest_quant.quantize.flows.example import Example
from pytest_quant.quantize.saved.call import call_as_json, made
from pytest_quant.subject.batches import mapped, tensors_in
from pytest_quant.subject.door import thinned
from pytest_quant.variant.sqnr import sqnr

MOST_VALUES = 2**16  # of each output that a file keeps; of a larger one every n-th
LEAST = 40.0  # dB between the outputs then and now; instruction sets change the last bits
ALIKE = 0.9  # share of integers that have to be equal
PATTERNS = ("waves", "ones")


@dataclass(frozen=True, slots=True)
class Probe:
    """A call of a variant and its outputs.

    Args:
        pattern: of the values of its floating-point inputs; empty where the variant takes none.
        ranges: low and high end of each such input.
        outputs: thinned out.
    """

    pattern: str
    ranges: list[list[float]]
    outputs: list[Any]

    @classmethod
    def of(cls, model: Any, example: Example) -> "Probe":
        """Of a model in its context.

        Args:
            example: a call of it, whose form and ranges are taken and not its values.
        """
        ranges = [_range(tensor) for tensor in tensors_in([example.args, example.kwargs])]
        described = call_as_json(Example(example.args, example.kwargs, None))
        for pattern in PATTERNS:
            try:
                outputs = _outputs(model, described, pattern, ranges)
            except Exception:  # these values mean something else to the model
                continue
            if all(tensor.isfinite().all() for tensor in outputs):
                return cls(pattern, ranges, outputs)
        return cls("", [], [])

    def unlike(self, model: Any, described: dict[str, Any]) -> str | None:
        """How a loaded model differs, in half a sentence; None where it gives what was saved.

        Args:
            model: in its context. A copy of it runs, since kernels settle on the first batch they see.
            described: the call, as `call_as_json` gives it.
        """
        if not self.pattern:
            return None
        with contextlib.suppress(Exception):  # what cannot be copied has to run itself
            model = copy.deepcopy(model)
        own = _outputs(model, described, self.pattern, self.ranges)
        forms = ([(each.shape, each.dtype) for each in some] for some in (self.outputs, own))
        if next(forms) != next(forms):
            return "its outputs have other shapes or types"
        pairs = [*zip(self.outputs, own, strict=True)]
        for before, now in pairs:
            if not before.is_floating_point() and before.numel():
                equal = float((before == now).double().mean())
                if equal < ALIKE:
                    return f"only {100 * equal:.0f} % of its outputs are those that were saved"
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        decibels = sqnr([x for x, _ in floats], [y for _, y in floats])
        if decibels < LEAST:
            shown = "far" if decibels == -math.inf else f"at {decibels:.0f} dB"
            return f"its outputs are {shown} from those that were saved (below {LEAST:.0f} dB)"
        return None


def _outputs(
    model: Any, described: dict[str, Any], pattern: str, ranges: list[list[float]]
) -> list[Any]:
    args = tuple(made(value) for value in described["args"])
    kwargs = {name: made(value) for name, value in described["kwargs"].items()}
    if pattern == "waves":
        left = iter(ranges)
        args, kwargs = mapped([args, kwargs], lambda tensor: _waves(tensor, *next(left)))
    return [thinned(tensor, MOST_VALUES) for tensor in tensors_in(model(*args, **kwargs))]


def _waves(ones: Any, low: float, high: float) -> Any:
    """A floating-point tensor of the same form, whose values go up and down in a range."""
    if not ones.is_floating_point():
        return ones
    places = torch.arange(ones.numel(), dtype=torch.float64)
    waves = low + (high - low) * (0.5 + 0.5 * torch.sin(places * 0.7 + places.square() * 1e-3))
    return waves.reshape(ones.shape).to(ones.dtype)


def _range(tensor: Any) -> list[float]:
    """The ends of a floating-point tensor's finite values."""
    values = tensor[tensor.isfinite()] if tensor.is_floating_point() else tensor[:0]
    return [float(values.min()), float(values.max())] if values.numel() else [0.0, 1.0]
