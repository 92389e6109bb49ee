"""Output form: tensors whose samples can be taken and compared; of others, how they become so."""

from typing import Any, NamedTuple

import numpy as np

from pytest_quant.errors import QuantStageError
from pytest_quant.subject.samples import arrays_in


class OtherForm(NamedTuple):
    """What cannot be compared sample by sample.

    Args:
        what: in the plural.
        remedy: a call that gives what can be, to be written behind it.
    """

    what: str
    remedy: str


def other_form(value: Any) -> OtherForm | None:
    """The form of the first tensor or array in a nest that cannot be compared; None where all can."""
    return next(filter(None, map(_other, arrays_in(value))), None)


def refuse_other_form(outputs: Any, who: str, stage: str) -> None:
    """Refuse outputs that cannot be compared.

    Args:
        outputs: of a model.
        who: the model.
        stage: at which it ran.

    Raises:
        QuantStageError: says what to write.
    """
    if (other := other_form(outputs)) is not None:
        raise QuantStageError(
            stage,
            f"{who} gives {other.what} as outputs, which cannot be compared sample by sample. Let it "
            f"return plain ones, as quant_forward can do: lambda model, x: model(x){other.remedy}.",
        )


def _other(leaf: Any) -> OtherForm | None:
    import torch

    if isinstance(leaf, np.ndarray):
        is_long = leaf.dtype.kind in "fc" and leaf.dtype.itemsize > (
            8 if leaf.dtype.kind == "f" else 16
        )
        wide = "float64" if leaf.dtype.kind == "f" else "complex128"
        return OtherForm(f"arrays of {leaf.dtype}", f".astype({wide!r})") if is_long else None
    name = str(leaf.dtype).removeprefix("torch.")
    if leaf.is_nested:
        return OtherForm("nested tensors", ".to_padded_tensor(0.0)")
    if leaf.layout is not torch.strided:
        return OtherForm(
            f"sparse tensors ({str(leaf.layout).removeprefix('torch.')})", ".to_dense()"
        )
    if leaf.is_quantized:
        return OtherForm(f"quantized tensors ({name})", ".dequantize()")
    if leaf.is_floating_point() and leaf.element_size() < 2:
        return OtherForm(f"tensors of {name}", ".float()")
    if leaf.dtype is torch.complex32:
        return OtherForm(f"tensors of {name}", ".to(torch.complex64)")
    return None
