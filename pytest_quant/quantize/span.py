"""Span: from where to where the values of a tensor make a difference."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple


class Span(NamedTuple):
    """Values below ``low`` count as ``low``, values above ``high`` as ``high``."""

    low: float = -math.inf
    high: float = math.inf


EVERYTHING = Span()


def hull(spans: Iterable[Span]) -> Span:
    """The smallest span that holds them all."""
    lows, highs = zip(*spans, strict=True)
    return Span(min(lows), max(highs))


def given_span(
    args: Sequence[Any], kwargs: Mapping[str, Any], names: tuple[str, str], usual: Any
) -> Span:
    """The limits that a call of clamp or hardtanh gives, where they are numbers.

    Args:
        args, kwargs: of the call, its tensor among them.
        names: of the arguments behind the tensor.
        usual: what they are where they are not given.
    """
    limits = [
        args[place] if len(args) > place else kwargs.get(name, default)
        for place, (name, default) in enumerate(zip(names, usual, strict=True), 1)
    ]
    if not all(limit is None or isinstance(limit, int | float) for limit in limits):
        return EVERYTHING
    low, high = limits
    return Span(-math.inf if low is None else low, math.inf if high is None else high)


class Clamped:
    """A hook before an observer, or what stands for it: it is shown and passes on just a span."""

    def __init__(self, span: Span) -> None:
        self.span = span

    def __call__(self, _: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        x, *more = args
        return (x.clamp(*self.span) if x.is_floating_point() else x, *more)


def clamp_before(observer: Any, span: Span) -> None:
    """Let an observer, or fake-quantize module, see a span only."""
    observer.register_forward_pre_hook(Clamped(span))


def span_before(observer: Any) -> Span:
    """The span that an observer sees."""
    hooks = observer._forward_pre_hooks.values()
    return next((hook.span for hook in hooks if isinstance(hook, Clamped)), EVERYTHING)
