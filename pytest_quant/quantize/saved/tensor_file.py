"""Tensor file: tensors, numbers and texts as bytes with a seal, and back; nothing else is unpickled."""

from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.machine import torch_api
from pytest_quant.machine.conditions import known_warnings_silenced
from pytest_quant.quantize.saved.seal import sealed, unsealed


def as_bytes(content: dict[str, Any]) -> bytes:
    """What a file of this content consists of."""
    buffer = BytesIO()
    with known_warnings_silenced():
        torch.save(content, buffer)
    return sealed(buffer.getvalue())


def content_of(data: bytes, path: Path) -> dict[str, Any]:
    """The content that a file was made of.

    Args:
        data: all that is in the file.
        path: of the file, for the message.

    Raises:
        QuantStageError: it is damaged, or holds something else.
    """
    data = unsealed(data, path)
    try:
        # PyTorch's packed recurrent weights: an object of its own C++ classes, made of tensors alone
        packed = torch.serialization.safe_globals(torch_api.packed_classes())
        with known_warnings_silenced(), packed:
            content = torch.load(BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        raise QuantStageError(
            "load", f"{path} cannot be read: {in_brief(error)}. It is no variant that pytest-quant has "
            f"saved, or torch {torch.__version__} cannot read what another version wrote."
        ) from error  # fmt: skip
    return content if isinstance(content, dict) else {}
