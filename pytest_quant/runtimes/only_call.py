"""Only call: how a model is called for one batch, where that is just once."""

from typing import Any, NamedTuple

import torch

from pytest_quant.errors import QuantStageError
from pytest_quant.subject.batches import Forward, call
from pytest_quant.subject.samples import rebuilt


class OnlyCall(NamedTuple):
    """What a model was given, and what it gave.

    Args:
        args, kwargs: as they were before the model ran, which may write into them.
        outputs: of the model.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: Any


def only_call(module: Any, inputs: Any, own: Forward | None, stage: str = "load") -> OnlyCall:
    """The call that reaches a module when one batch is run.

    Args:
        inputs: of the batch.
        own: the user's `quant_forward`.
        stage: of an error.

    Raises:
        QuantStageError: when it is called more than once, or never.
    """
    given, seen = list[tuple[Any, Any]](), list[OnlyCall]()

    def before(_: Any, args: Any, kwargs: Any) -> None:
        given.append(rebuilt((args, kwargs), _copied))

    def after(_: Any, args: Any, kwargs: Any, outputs: Any) -> None:
        seen.append(OnlyCall(*given.pop(), outputs))

    hooks = [
        module.register_forward_pre_hook(before, with_kwargs=True),
        module.register_forward_hook(after, with_kwargs=True),
    ]
    try:
        call(module, inputs, own)
    finally:
        for hook in hooks:
            hook.remove()
    if len(seen) != 1:
        raise QuantStageError(
            stage,
            f"quant_forward calls the model {len(seen)} times for a batch; a file is judged where it is "
            "called once",
        )
    return seen[0]


def _copied(array: Any) -> Any:
    return array.clone() if isinstance(array, torch.Tensor) else array.copy()
