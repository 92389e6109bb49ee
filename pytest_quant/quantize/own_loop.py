"""Own loop: training by the user's `quant_train`, with an eye on what it is fed and what it leaves."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.machine.global_state import given_back
from pytest_quant.quantize.flows.flow import unobserved
from pytest_quant.quantize.tuned import Tuned
from pytest_quant.quantize.watch import Watch, watching
from pytest_quant.subject.batches import size_of
from pytest_quant.subject.digests import digests
from pytest_quant.subject.subject import Admitted


def train_by_own_loop(prepared: Any, admitted: Admitted) -> Tuned:
    """Let the user's loop train the prepared model, in place; a trained copy that it returns is taken.

    Raises:
        QuantStageError: when it raises, returns what cannot be taken, or trains nothing.
    """
    before = [parameter.detach().clone() for parameter in prepared.parameters()]
    try:
        with given_back(), watching(admitted) as watch:
            returned = admitted.subject.train(prepared.train())
    except Exception as error:
        raise QuantStageError("train", f"quant_train raised: {in_brief(error)}") from error
    prepared.cpu()  # from wherever the loop has trained it
    _take(prepared, returned)
    if before and not unobserved(prepared) and all(map(torch.equal, before, prepared.parameters())):
        raise QuantStageError(
            "train",
            "quant_train left all weights of the model that it was given as they were, so nothing was "
            "trained. Train that model in place, or return the trained copy of it.",
        )
    return Tuned(frozenset(watch.learned), tuple(_notes(watch)), seen=watch.seen[True])


def _take(prepared: Any, returned: Any) -> None:
    """Take the state of a trained copy, or a state dict, that a loop returned, alone or beside others."""
    state = prepared.state_dict()
    parts = [returned]
    if isinstance(returned, Mapping) and returned.keys() != state.keys():
        parts = list(returned.values())
    elif isinstance(returned, list | tuple):
        parts = list(returned)
    modules = {id(part): part for part in parts if isinstance(part, torch.nn.Module)}
    if any(child is prepared for module in modules.values() for child in module.modules()):
        return  # trained in place
    states = [part for part in parts if isinstance(part, Mapping) and part.keys() == state.keys()]
    found: list[Any] = [*modules.values(), *states]
    if not found:
        return
    if len(found) > 1:
        raise _refused(f"{len(found)} models, none of which is the one that it was given")
    try:
        own = found[0] if states else found[0].state_dict()
        with torch.no_grad():
            prepared.load_state_dict(own)
    except Exception as error:
        raise _refused(
            f"a {type(found[0]).__name__} that is no copy of the model that it was given "
            f"({in_brief(error)})"
        ) from error


def _refused(what: str) -> QuantStageError:
    return QuantStageError(
        "train",
        f"quant_train returned {what}. Train that model in place and return nothing, or return the "
        "trained copy of it.",
    )


def _notes(watch: Watch) -> Iterator[str]:
    first = watch.like
    if first is not None and watch.looked_at.intersection(digests(first, size_of(first))):
        yield (
            "quant_train also looked at eval data, in eval mode and without gradients; what it chose by "
            "that, such as the best epoch, was chosen on what it is judged on"
        )
    yield from watch.notes("quant_train")
