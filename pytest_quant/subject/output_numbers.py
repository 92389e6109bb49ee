"""Output numbers: what a model gives, as tensors that can be compared, NumPy's arrays among them."""

from collections.abc import Iterator
from typing import Any

from pytest_quant.subject.logits import as_tensor
from pytest_quant.subject.samples import arrays_in


def numbers_in(outputs: Any) -> Iterator[Any]:
    """Each tensor, and each NumPy array of numbers as a tensor, in order."""
    import torch

    found = map(as_tensor, arrays_in(outputs))
    return (each for each in found if isinstance(each, torch.Tensor))


def floats_in(outputs: Any) -> Iterator[Any]:
    """Those that are floating point, complex ones as pairs of such numbers along a last axis."""
    import torch

    for each in numbers_in(outputs):
        if each.is_complex():
            yield torch.view_as_real(each.resolve_conj())
        elif each.is_floating_point():
            yield each
