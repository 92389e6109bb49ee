"""Limits: the numbers that a repo states, checked before anything is judged by them."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple


def per_cent(value: float) -> str:
    """A share for a person: ``99.95 %``."""
    return f"{100 * value:.4g} %"


class Limit(NamedTuple):  # each pytest run on the machine makes it; a dataclass takes a ms more
    """What a limit is, whatever its value.

    Args:
        means: its unit and range, for help and errors.
        highest: sensible value; None for any.
        above_zero: whether 0 says nothing.
        shown: a value for a person, in the limit's unit; None where the metric's unit decides.
    """

    means: str
    highest: float | None = None
    above_zero: bool = False
    shown: Callable[[float], str] | None = None


LIMITS: Mapping[str, Limit] = {
    "max_accuracy_drop": Limit(
        "a fraction from 0 on (0.01 is one point), or raw units of a raw metric"
    ),
    "min_speedup": Limit(
        "a ratio (1.5 is half as fast again)", above_zero=True, shown="{:.4g}x".format
    ),
    "max_size_ratio": Limit(
        "a ratio of FP32's size from 0 to 2 (0.3 is 30 %)", 2.0, shown="{:.4g} of FP32".format
    ),
    "max_size_mb": Limit("MB of 10**6 bytes", shown="{:.4g} MB".format),
    "min_int8_share": Limit("a share of the parameters in [0, 1]", 1.0, shown=per_cent),
    "min_sqnr": Limit("decibels from 0 on", shown="{:.4g} dB".format),
    "max_slice_drop": Limit(
        "a fraction from 0 to below 1 (0.05 is five points), or raw units of a raw metric"
    ),
    "max_flips": Limit("a share of the samples in [0, 1]", 1.0, shown=per_cent),
}


MOST_ALPHA = 0.05


ALPHA = 0.01  # error probability of a verdict on the population


def check_alpha(alpha: Any) -> float:
    """An error probability that a verdict may have.

    Raises:
        TypeError, ValueError: for anything outside (0, 0.05], by which nothing would be proven.
    """
    if isinstance(alpha, bool) or not isinstance(alpha, int | float):
        raise TypeError(f"alpha is {alpha!r}; expected an error probability, as in alpha=0.01")
    if not 0 < alpha <= MOST_ALPHA:
        raise ValueError(
            f"alpha is {alpha!r}; expected an error probability above 0 and at most {MOST_ALPHA:g}"
        )
    return float(alpha)


def check_number(name: str, value: Any, means: str) -> float:
    """A finite number as a float.

    Args:
        means: what is expected, for errors.

    Raises:
        TypeError, ValueError: for anything else; says what was given.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        like = "" if isinstance(value, str | bool | None) else f", a {type(value).__name__}"
        plain = " as a plain int or float" if like else ""
        raise TypeError(f"{name} is {value!r}{like}; expected {means}{plain}")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError(f"{name} is a number of more than 300 digits; expected {means}") from None
    if not math.isfinite(number):
        raise ValueError(f"{name} is {value!r}; expected {means}")
    return number


def checked(name: str, value: Any, own: Iterable[str] = ()) -> float:
    """A limit as a float.

    Args:
        own: names of the repo's own gates, whose limits are any finite numbers.

    Raises:
        TypeError: for an unknown name or something that is no number.
        ValueError: for a negative, infinite or too high number. Both say what is allowed.
    """
    own = tuple(own)
    if name not in LIMITS and name not in own:
        from difflib import get_close_matches

        nearest = get_close_matches(name, [*LIMITS, *own], n=1, cutoff=0.5)
        meant = f" (did you mean {nearest[0]}?)" if nearest else ""
        allowed = ", ".join([*LIMITS, *own])
        raise TypeError(f"unknown limit {name!r}{meant}; allowed: {allowed}")
    limit = LIMITS.get(name)
    means = limit.means if limit else "a finite number"
    number = check_number(name, value, means)
    if limit and (number < 0 or (limit.highest is not None and number > limit.highest)):
        raise ValueError(f"{name} is {value!r}; expected {means}")
    if limit and limit.above_zero and number == 0:
        raise ValueError(f"{name} is 0, which every model meets; expected {means}")
    return number
