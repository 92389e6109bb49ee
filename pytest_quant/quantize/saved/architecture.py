"""Architecture: what tells one module from another whose parameters have the same names and shapes."""

from collections.abc import Iterator
from typing import Any

IDLE = ("training", "inplace", "momentum", "dropout")  # settings without an effect in eval mode
PLAIN = (bool, int, float, str, type(None))


def architecture(module: Any) -> list[Any]:
    """The types of all submodules by name, and of PyTorch's own their settings, as plain JSON types.

    What modules of the user's own are set to is left to their outputs: not all that they keep is a
    setting.
    """
    return [
        [name, type(child).__name__, dict(_settings(child))]
        for name, child in module.named_modules()
    ]


def difference(saved: list[Any], here: list[Any]) -> str | None:
    """How two modules differ first, in half a sentence; None where they do not.

    Args:
        saved, here: as `architecture` gives them.
    """
    then, now = ({name: tuple(rest) for name, *rest in each} for each in (saved, here))
    for name in {**then, **now}:
        who = f"module {name}" if name else "the model itself"
        if name not in now or name not in then:
            kind = (then.get(name) or now[name])[0]
            return f"{who}, a {kind}, is {'not there any more' if name in then else 'new'}"
        (kind, settings), (kind_now, settings_now) = then[name], now[name]
        if kind != kind_now:
            return f"{who} was a {kind} and is a {kind_now}"
        for key in sorted(settings.keys() & settings_now.keys()):  # versions of PyTorch have others
            if settings[key] != settings_now[key]:
                return f"{key} of {who} was {settings[key]} and is {settings_now[key]}"
    return None


def _settings(child: Any) -> Iterator[tuple[str, Any]]:
    if not type(child).__module__.startswith("torch."):
        return
    for name, value in vars(child).items():
        if (
            name.startswith("_")
            or name in IDLE
            or (name == "p" and "Dropout" in type(child).__name__)
        ):
            continue
        if callable(value) and hasattr(value, "__name__"):  # an activation
            yield name, value.__name__
        elif (plain := _plain(value)) is not None or value is None:
            yield name, plain


def _plain(value: Any) -> Any:
    """A value as JSON gives it back; None for what is no setting."""
    if isinstance(value, list | tuple) and all(isinstance(part, PLAIN) for part in value):
        return list(value)
    return value if isinstance(value, PLAIN) else None
