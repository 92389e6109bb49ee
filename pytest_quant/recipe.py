"""Recipe: how a variant is made."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

KINDS = ("dynamic", "static", "qat", "custom")
FLOWS = ("auto", "fx")
ENGINES = ("x86", "fbgemm", "onednn", "qnnpack")
OBSERVERS = ("histogram", "minmax", "moving_average")
# What each kind has no use for; given all the same, it is refused, so that nothing is ignored.
UNUSED = {
    "dynamic": ("flow", "observer", "calibration_samples", "epochs", "lr"),
    "static": ("epochs", "lr"),
    "qat": ("calibration_samples",),
    "custom": (
        "flow",
        "observer",
        "per_channel",
        "keep_fp32",
        "calibration_samples",
        "epochs",
        "lr",
    ),
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one variant is made from the FP32 model. Frozen, hashable, and plain JSON by `to_dict`.

    Args:
        kind: ``dynamic`` (weights int8, activations quantized as they come), ``static``
            (post-training quantization with calibrated observers), ``qat`` (quantization-aware
            training) or ``custom`` (your own ``build``).
        flow: the PyTorch API that quantizes: ``fx``; ``auto`` takes the first that can.
        engine: PyTorch's quantized engine, ``x86``, ``fbgemm``, ``onednn`` or ``qnnpack``;
            None is the one that PyTorch has set (``x86`` on x86-64).
        observer: of the activations: ``histogram``, ``minmax`` or ``moving_average``; None is the
            engine's default (histogram for static, moving average for QAT).
        per_channel: one scale for each output channel of a weight, else one for the tensor.
        keep_fp32: modules that stay FP32: shell patterns (`fnmatch`) on your own qualified names
            (``"layer4.*"``), or module types. A pattern that matches nothing is an error.
        calibration_samples: how many samples the observers see (static).
        epochs: passes over the training data (QAT, built-in loop).
        lr: learning rate of Adam (QAT, built-in loop).
        build: for ``custom``: callable(a copy of the FP32 module) -> the quantized model, a
            callable that takes the same inputs.

    Raises:
        ValueError, TypeError: at construction, naming the argument, what was given and what is
            allowed.
    """

    kind: str
    flow: str = field(default="auto", kw_only=True)
    engine: str | None = field(default=None, kw_only=True)
    observer: str | None = field(default=None, kw_only=True)
    per_channel: bool = field(default=True, kw_only=True)
    keep_fp32: tuple[str | type, ...] = field(default=(), kw_only=True)
    calibration_samples: int = field(default=200, kw_only=True)
    epochs: int = field(default=2, kw_only=True)
    lr: float = field(default=1e-4, kw_only=True)
    build: Callable[[Any], Callable[..., Any]] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        _one_of("kind", self.kind, KINDS)
        _one_of("flow", self.flow, FLOWS)
        if self.engine is not None:
            _one_of("engine", self.engine, ENGINES)
        if self.observer is not None:
            _one_of("observer", self.observer, OBSERVERS)
        kept = self.keep_fp32 if isinstance(self.keep_fp32, list | tuple) else (self.keep_fp32,)
        object.__setattr__(self, "keep_fp32", tuple(kept))
        for item in self.keep_fp32:
            if not isinstance(item, str | type):
                raise TypeError(f"Recipe: keep_fp32 takes names or module types, not {item!r}")
        for name, least in (("calibration_samples", 1), ("epochs", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(
                    f"Recipe: {name} is {value!r}; a whole number from {least} is meant"
                )
        if not isinstance(self.lr, int | float) or not 0 < self.lr < math.inf:
            raise ValueError(f"Recipe: lr is {self.lr!r}; a positive number is meant")
        if (self.kind == "custom") != callable(self.build):
            raise TypeError(
                f"Recipe: kind={self.kind!r} with build={self.build!r}; build, a callable from the "
                "FP32 module to the quantized model, goes with kind='custom' and only with it"
            )

        for name, default in _defaults().items():
            if name in UNUSED[self.kind] and getattr(self, name) != default:
                raise ValueError(
                    f"Recipe: {name}={getattr(self, name)!r} says nothing to kind={self.kind!r}; "
                    "leave it out"
                )

    @property
    def label(self) -> str:
        """A name for a variant that was given none: the kind and whatever is not the default."""
        changed = [
            f"{name}={_name(value) if callable(value) else value}"
            for name, default in _defaults().items()
            if (value := getattr(self, name)) != default
        ]
        return f"{self.kind}({', '.join(changed)})" if changed else self.kind

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; module types and ``build`` by their qualified names."""
        plain: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        plain["keep_fp32"] = [_name(item) for item in self.keep_fp32]
        plain["build"] = None if self.build is None else _name(self.build)
        return plain


def _defaults() -> dict[str, Any]:
    return {f.name: f.default for f in fields(Recipe) if f.name != "kind"}


def _one_of(argument: str, given: object, allowed: tuple[str, ...]) -> None:
    if given not in allowed:
        raise ValueError(f"Recipe: {argument} is {given!r}; allowed: {', '.join(allowed)}")


def _name(item: Any) -> str:
    if isinstance(item, str):
        return item
    return f"{getattr(item, '__module__', '?')}.{getattr(item, '__qualname__', repr(item))}"
