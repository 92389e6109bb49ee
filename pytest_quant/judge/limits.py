"""Limits: the numbers that a repo states, checked before anything is judged by them."""

import math
from collections.abc import Mapping
from typing import Any

# name -> (unit in words, highest sensible value or None)
LIMITS: Mapping[str, tuple[str, float | None]] = {
    "max_accuracy_drop": (
        "a fraction from 0 on (0.01 is one point), or raw units of a raw metric",
        None,
    ),
    "min_speedup": ("a ratio (1.5 is half as fast again)", None),
    "max_size_ratio": ("a ratio of FP32's size from 0 to 2 (0.3 is 30 %)", 2.0),
    "max_size_mb": ("MB of 10**6 bytes", None),
    "min_int8_share": ("a share of the parameters in [0, 1]", 1.0),
    "max_flips": ("a share of the samples in [0, 1]", 1.0),
}


def checked(name: str, value: Any) -> float:
    """A limit as a float.

    Raises:
        TypeError: for an unknown name or something that is no number.
        ValueError: for a negative, infinite or too high number. Both say what is allowed.
    """
    if name not in LIMITS:
        from difflib import get_close_matches

        nearest = get_close_matches(name, LIMITS, n=1, cutoff=0.5)
        meant = f" (did you mean {nearest[0]}?)" if nearest else ""
        raise TypeError(f"unknown limit {name!r}{meant}; allowed: {', '.join(LIMITS)}")
    unit, highest = LIMITS[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is {value!r}; expected {unit}")
    if not math.isfinite(value) or value < 0 or (highest is not None and value > highest):
        raise ValueError(f"{name} is {value!r}; expected {unit}")
    if name == "min_speedup" and value == 0:
        raise ValueError(f"{name} is 0, which every model meets; expected {unit}")
    return float(value)
