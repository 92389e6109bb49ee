"""Packing: samples and their scores as short texts, so that a baseline of many samples stays small."""

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

SAMPLE_BYTES = 8  # of a digest; 2**-64 for each pair of samples to be taken for one
FORMS = ("bits", "float32", "float64")

Array = np.ndarray[Any, Any]
Packed = Mapping[str, str]


def pack_samples(samples: Array) -> str:
    """Sorted samples as base64: 10,000 of them are 107 kB.

    Args:
        samples: [n] as an `Evaluation` has them: 16 hex digits, and how often the sample came before,
            which is left out, since repeated samples stand together.
    """
    return _base64(_digests(samples))


def unpack_samples(text: str) -> list[bytes]:
    """The samples' digests of 8 bytes, sorted.

    Raises:
        ValueError: for a text that packs no such samples.
    """
    packed = _bytes(text)
    if len(packed) % SAMPLE_BYTES:
        raise ValueError(f"the samples' digests are cut off after {len(packed)} bytes")
    digests = [packed[i : i + SAMPLE_BYTES] for i in range(0, len(packed), SAMPLE_BYTES)]
    if digests != sorted(digests):
        raise ValueError("the samples' digests are not in order")
    return digests


def fingerprint_of(samples: Array) -> str:
    """16 hex digits for a whole eval set, in whatever order it was read."""
    return _fingerprint(_digests(samples))


def fingerprint_of_packed(text: str) -> str:
    """The same from packed samples."""
    return _fingerprint(_bytes(text))


def pack_scores(scores: Array) -> dict[str, str]:
    """Scores as base64, without loss: a bit each where all are 0 or 1, else 4 or 8 bytes.

    Args:
        scores: [n] float64, in the order of the sorted samples.
    """
    if ((scores == 0) | (scores == 1)).all():
        return {"form": "bits", "data": _base64(np.packbits(scores.astype(bool)).tobytes())}
    with np.errstate(all="ignore"):
        short = scores.astype("<f4")
    form = "float32" if np.array_equal(short, scores, equal_nan=True) else "float64"
    exact = short if form == "float32" else scores.astype("<f8")
    return {"form": form, "data": _base64(exact.tobytes())}


def unpack_scores(packed: Packed, samples: int) -> Array:
    """Scores as they were packed: [samples] float64.

    Raises:
        ValueError: when they are damaged or not so many.
    """
    form, data = packed["form"], _bytes(packed["data"])
    if form not in FORMS:
        raise ValueError(f"scores are of form {form!r}; known are {', '.join(FORMS)}")
    expected = (samples + 7) // 8 if form == "bits" else samples * (4 if form == "float32" else 8)
    if len(data) != expected:
        raise ValueError(f"{samples} scores as {form} take {expected} bytes, not {len(data)}")
    if form == "bits":
        bits = np.unpackbits(np.frombuffer(data, np.uint8), count=samples)
        return bits.astype(np.float64)
    return np.frombuffer(data, "<f4" if form == "float32" else "<f8").astype(np.float64)


def _digests(samples: Array) -> bytes:
    """The samples' digests without their numbers, 8 bytes each, one after the other."""
    texts = np.ascontiguousarray(samples).view(np.uint8).reshape(len(samples), -1)
    return bytes.fromhex(texts[:, : 2 * SAMPLE_BYTES].tobytes().decode())


def _fingerprint(digests: bytes) -> str:
    return hashlib.blake2b(digests, digest_size=8).hexdigest()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
