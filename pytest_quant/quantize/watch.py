"""Watch: the inputs that code of the user's gives to models, seen from outside."""

import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from pytest_quant.quantize.arguments import arguments_by_name
from pytest_quant.subject.batches import on_cpu, size_of
from pytest_quant.subject.digests import digests
from pytest_quant.subject.shift.traits import Seen
from pytest_quant.subject.subject import Admitted

TRACERS = ("torch.jit", "torch.onnx", "torch.export")
WHOLE = 0.9  # of the weights; a part of a model may be given something else than the inputs
MOST_SEEN = 400  # samples that are compared with the eval inputs
MOST = 1_000_000  # inputs that are kept; beyond it they would need more than 100 MB


@dataclass(slots=True, eq=False)
class Watch:
    """What was seen.

    Args:
        like: inputs of one eval batch, in whose form those of a call are compared; None where the user's
            `quant_forward` makes the call of them, so that its arguments are compared by name.
        learned: digests of inputs that a model could learn from: gradients on, or in train mode.
        looked_at: digests of those that it was only shown.
        weights: of the model that the code was given.
        seen: the first inputs that such a model could learn from, and of those that it was only shown.
        is_whole: whether such a model was called, and not parts of it alone.
        is_full: whether there were more than `MOST`.
    """

    like: Any
    weights: int
    learned: set[bytes] = field(default_factory=set)
    looked_at: set[bytes] = field(default_factory=set)
    seen: dict[bool, Seen] = field(default_factory=lambda: {True: Seen(), False: Seen()})
    is_whole: bool = False
    is_full: bool = False

    def notes(self, who: str) -> Iterator[str]:
        """What a reader should know of what was not seen.

        Args:
            who: whose code it is.
        """
        if not self.is_whole:
            yield (
                f"what tuned it is not known: {who} was not seen to call the model, so that eval data may "
                "be among its inputs"
            )
        if self.is_full:
            yield f"of the inputs that {who} gave to modules only the first {MOST:,} were looked at"

    def see(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Look at the inputs of one call, before it."""
        if len(self.learned) + len(self.looked_at) >= MOST:
            self.is_full = True
            return
        learns = torch.is_grad_enabled() or module.training
        own = sum(parameter.numel() for parameter in module.parameters())
        is_whole = own >= WHOLE * self.weights
        try:
            inputs = call_inputs(module, args, kwargs, self.like)
            seen = digests(inputs, size_of(inputs))
            if is_whole and self.like is not None and self.seen[learns].samples < MOST_SEEN:
                self.seen[learns].add(inputs, size_of(inputs))
        except Exception:  # of arguments that cannot be told apart: nothing was seen
            return
        (self.learned if learns else self.looked_at).update(seen)
        self.is_whole |= bool(seen) and is_whole


@contextmanager
def watching(admitted: Admitted) -> Iterator[Watch]:
    """In which code of the user's runs; the outermost calls of all modules with parameters are seen.

    The call of the class is replaced, since a hook is lost when a traced module is copied, and one for
    all modules keeps `torch.export` from its work.
    """
    module: Any = torch.nn.Module
    jit: Any = torch.jit
    like = admitted.first_inputs if admitted.subject.forward is None else None
    watch = Watch(like, sum(parameter.numel() for parameter in admitted.module.parameters()))
    depth, usual = 0, module.__call__

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal depth
        if torch.compiler.is_compiling() or jit.is_tracing():  # where there are no values
            return usual(self, *args, **kwargs)
        depth += 1
        try:
            if depth == 1 and _has_parameters(self) and not _is_called_by_tracer():
                watch.see(self, args, kwargs)
            return usual(self, *args, **kwargs)
        finally:
            depth -= 1

    module.__call__ = call
    try:
        yield watch
    finally:
        module.__call__ = usual


def call_digests(module: Any, args: tuple[Any, ...], kwargs: Any, like: Any) -> list[bytes]:
    """The digests of a call's samples, as `digests` gives them; see `call_inputs`."""
    inputs = call_inputs(module, args, kwargs, like)
    return digests(inputs, size_of(inputs))


def call_inputs(module: Any, args: tuple[Any, ...], kwargs: Any, like: Any) -> Any:
    """The inputs of a call, in the form of `like`.

    Args:
        module: that is called.
        args, kwargs: with what.
        like: as in `Watch`.
    """
    named = _by_name(module, args, kwargs)
    if like is None:
        value: Any = {name: part for name, part in named.items() if _holds_tensors(part)}
    elif isinstance(like, Mapping):
        value = {name: named[name] for name in like if name in named}
    elif isinstance(like, list | tuple):
        value = list(named.values())[: len(like)]
    else:
        value = next(iter(named.values()), None)
    return on_cpu(value)


def _by_name(module: Any, args: tuple[Any, ...], kwargs: Any) -> dict[str, Any]:
    """A call's arguments by the names that forward gives them, in its order, else by number."""
    try:
        return arguments_by_name(inspect.signature(module.forward), args, kwargs)
    except (TypeError, ValueError):
        return {**{str(place): value for place, value in enumerate(args)}, **kwargs}


def _holds_tensors(value: Any) -> bool:
    return size_of(value) > 0


def _has_parameters(module: Any) -> bool:
    """Loss functions have none."""
    return next(module.parameters(), None) is not None


def _is_called_by_tracer() -> bool:
    """Whether PyTorch itself calls it, to compare what it has recorded with it."""
    caller = sys._getframe(2).f_globals.get("__name__", "")
    return str(caller).startswith(TRACERS)
