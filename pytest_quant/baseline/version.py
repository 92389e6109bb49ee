"""Version: of the form of report.json and of baselines, and the words on a file of a later one."""

from collections.abc import Mapping
from typing import Any

# A reader refuses a higher one. New fields do not raise it. 2: digests of FP32's weights, the commit,
# limits in baselines, and which part of the tests a report is of. 3: samples by XXH3-128 of what BLAKE2b
# was of before, so that samples and fingerprints of an eval set are others.
VERSION = 3


def same_digests(one: int, other: int) -> bool:
    """Whether files of two versions tell samples apart by the same digests."""
    return (one < 3) == (other < 3)


def later_version(document: Mapping[str, Any]) -> str | None:
    """Why a document cannot be read, as a clause: it is of a later version; None where it is not."""
    given = document.get("version")
    if isinstance(given, bool) or not isinstance(given, int | float) or not given > VERSION:
        return None
    environment = document.get("environment")
    by = environment.get("pytest_quant") if isinstance(environment, dict) else None
    writer = (
        f"pytest-quant {by}" if isinstance(by, str) and len(by) < 40 else "a later pytest-quant"
    )
    return (
        f"is of version {given}, written by {writer}, and this pytest-quant reads up to {VERSION}; read "
        "it with the one that wrote it, or a later one"
    )
