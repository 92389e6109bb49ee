"""Mode askers: modules that do something else in train mode than in eval mode, as a tracer sees it.

A trace has one branch of ``if self.training``, and a random depth (StochasticDepth, DropPath) that was
traced in train mode stays random for good.
"""

import copy
from typing import Any

import torch

from pytest_quant.errors import QuantStageError, listed
from pytest_quant.quantize.flows.example import Example
from pytest_quant.quantize.flows.unrounded import are_alike, unrounded
from pytest_quant.quantize.layer_types import RECURRENT, WEIGHTED
from pytest_quant.subject.batches import tensors_in

INT8 = WEIGHTED | RECURRENT


def mode_askers(module: Any, example: Example) -> frozenset[str]:
    """Names of the modules, the model itself being ``""``, that read ``self.training`` when they run.

    PyTorch's own layers are left out: tracers know their two modes.
    """
    asked = set[str]()
    copied = copy.deepcopy(module).train()
    for name, child in copied.named_modules():
        if not type(child).__module__.startswith("torch.nn.modules."):
            child.__class__ = _watched(type(child), name, asked)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for mode in (True, False):  # some models cannot run in train mode on such a batch
            try:
                copied.train(mode)(*example.args, **example.kwargs)
            except Exception:
                continue
    return frozenset(asked)


def without_weights(module: Any, names: frozenset[str]) -> list[str]:
    """Those that hold no layer that could become int8, so that they can stay what they are."""
    return [
        name
        for name in sorted(names)
        if name
        and not any(type(child).__name__ in INT8 for child in module.get_submodule(name).modules())
    ]


def is_the_model(made: Any, module: Any, example: Example) -> bool:
    """Whether a traced model, in eval mode and rounding nothing, is still the module that was traced.

    Args:
        made: of our own; see `unrounded`.
        module: a copy of what was traced.
    """

    def run(model: Any) -> Any:
        return model(*example.args, **example.kwargs)

    with torch.no_grad():
        expected = list(tensors_in(run(module.eval())))
    module.train()
    try:
        found, is_random = unrounded(made, run)
    except QuantStageError:
        raise
    except Exception:
        return False
    return are_alike(expected, found) and not is_random


def told(module: Any, names: frozenset[str]) -> tuple[str, ...]:
    """A note that names them; none where there are none."""
    if not names:
        return ()
    shown = [
        f"{name or 'the model itself'} ({type(module.get_submodule(name)).__name__})"
        for name in sorted(names)
    ]
    which = listed(shown, 3, counted=True)
    return (
        "QAT trains with what forward does in eval mode, without what it does where self.training is true: "
        f"{which}",
    )


def answer_eval(module: Any, names: frozenset[str]) -> None:
    """Let these modules, but not their children, hear that they are in eval mode."""
    for name in names:
        module.get_submodule(name).training = False


def _watched(kind: type, name: str, asked: set[str]) -> Any:
    def look_up(self: Any, attribute: str) -> Any:
        if attribute == "training":
            asked.add(name)
        return super(watched, self).__getattribute__(attribute)

    space = {"__getattribute__": look_up, "__module__": kind.__module__}
    watched: Any = type(kind.__name__, (kind,), space)
    return watched
