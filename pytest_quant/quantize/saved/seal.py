"""Seal: a file's digest at its end, by which damage is found before any of it is parsed.

PyTorch's reader of packed weights is C++ that trusts its input: a byte that was flipped can end the
process. So nothing is parsed that is not as it was written.
"""

import hashlib
from pathlib import Path

from pytest_quant.errors import QuantStageError

MARK = b"pytest-quant sha256 "
LENGTH = len(MARK) + 64
EMPTY = b"\0\0"  # how a zip file ends that has no comment: with the comment's length


def sealed(data: bytes) -> bytes:
    """A zip file's bytes with their SHA-256 as the zip's comment, which other readers skip."""
    data = data.removesuffix(EMPTY)
    digest = hashlib.sha256(data).hexdigest().encode()
    return data + LENGTH.to_bytes(2, "little") + MARK + digest


def unsealed(data: bytes, path: Path) -> bytes:
    """The bytes that `sealed` was given.

    Args:
        data: all that is in the file.
        path: of the file, for the message.

    Raises:
        QuantStageError: there is no seal, or the file is not as it was written.
    """
    body, seal = data[:-LENGTH], data[-LENGTH:]
    if not seal.startswith(MARK):
        raise QuantStageError(
            "load", f"{path} is no variant that pytest-quant has saved; Variant.save writes one. If it "
            "was one, its end is missing."
        )  # fmt: skip
    data = body.removesuffix(LENGTH.to_bytes(2, "little"))
    if hashlib.sha256(data).hexdigest().encode() != seal.removeprefix(MARK):
        raise QuantStageError("load", f"{path} is damaged: its digest does not match its content.")
    return data + EMPTY
