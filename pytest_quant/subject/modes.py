"""Modes: what a module carries besides its weights and is changed without a trace in them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pytest_quant.machine import torch_api


@dataclass(frozen=True, slots=True)
class Mode:
    """Of one submodule.

    Args:
        training: its flag.
        hooks: numbers of its hooks, by their kind.
        frozen: names of its own parameters that ask for no gradient.
    """

    training: bool
    hooks: tuple[frozenset[int], ...]
    frozen: frozenset[str]


@dataclass(frozen=True, slots=True)
class Modes:
    """The modes of a model's submodules at one moment, by their names; of another callable none."""

    by_name: Mapping[str, Mode]

    @classmethod
    def of(cls, model: Any) -> "Modes":
        """As they are now."""
        return cls({name: _mode(child) for name, child in _modules(model)})

    @contextmanager
    def held(self, model: Any) -> Iterator[None]:
        """In which a model, or a copy of it, runs in these modes; it is given back in those found.

        Hooks stay as they are, since whoever looks on from outside has just set some.
        """
        found: list[tuple[Any, str, bool]] = []
        for name, child in _modules(model):
            mode = self.by_name.get(name)
            if mode is None:
                continue
            if child.training != mode.training:
                found.append((child, "training", child.training))
                child.training = mode.training
            for own, parameter in child.named_parameters(recurse=False):
                wanted = own not in mode.frozen
                if parameter.requires_grad != wanted and parameter.is_leaf:
                    found.append((parameter, "requires_grad", parameter.requires_grad))
                    parameter.requires_grad = wanted
        try:
            yield
        finally:
            for whose, what, value in found:
                setattr(whose, what, value)

    def without_later_hooks(self, model: Any) -> Any:
        """A copy of the model without the hooks that were set since."""
        for name, child in _modules(model):
            mode = self.by_name.get(name)
            if mode is None:
                continue
            for hooks, known in zip(torch_api.hooks_of(child), mode.hooks, strict=True):
                for number in [each for each in hooks if each not in known]:
                    del hooks[number]
        return model


@contextmanager
def in_eval(model: Any) -> Iterator[None]:
    """In which a module and all in it are in eval mode; each is given back in the mode found."""
    training = {child: child.training for child in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for child, mode in training.items():
            child.training = mode


def _mode(child: Any) -> Mode:
    return Mode(
        child.training,
        tuple(frozenset(hooks) for hooks in torch_api.hooks_of(child)),
        frozenset(name for name, p in child.named_parameters(recurse=False) if not p.requires_grad),
    )


def _modules(model: Any) -> Iterator[tuple[str, Any]]:
    """All but those that have no mode any more, as what TorchScript has frozen."""
    import torch

    if isinstance(model, torch.nn.Module):
        for name, child in model.named_modules():
            if hasattr(child, "training"):
                yield name, child
