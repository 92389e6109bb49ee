"""Door: what FP32 was when it was admitted, and has to be whenever something is compared with it."""

import inspect
import math
from dataclasses import dataclass, field
from typing import Any

from pytest_quant.errors import QuantStageError, in_brief, listed
from pytest_quant.machine.global_state import GlobalState
from pytest_quant.subject.batches import Forward, call, copied, size_of, taken
from pytest_quant.subject.digests import digests
from pytest_quant.subject.modes import Modes
from pytest_quant.subject.output_numbers import numbers_in

SAMPLES = 8  # that are kept, with FP32's outputs
MOST_VALUES = 2**20  # of each output that are kept; of a larger one every n-th
SHOWN = 4  # of those who may have moved it
MOVED = 1e-4  # of the largest output; threads and memory formats change about a millionth of it


@dataclass(slots=True, eq=False, weakref_slot=True)
class Door:
    """FP32 as it was admitted.

    Args:
        state: PyTorch's settings then, inside which all our work runs.
        modes: of the module: eval mode, and no hooks but those of the model itself.
        inputs: of at most 8 samples; of the whole first batch where a model cannot run on fewer.
        outputs: FP32's tensors for them, thinned out.
        types: of the submodules, by name.
        forwards: what each of these types runs.
        holder: the test that has it in hand.
        since: who has had it, or something that shares code with it, since it was last seen as it was.
        blamed: those of them when it was first seen otherwise.
        notes: what a reader should know of it.
    """

    state: GlobalState
    modes: Modes
    inputs: Any
    outputs: list[Any]
    types: dict[str, type]
    forwards: dict[str, Any]
    holder: str = ""
    since: list[str] = field(default_factory=list)
    blamed: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, module: Any, inputs: Any, own: Forward | None) -> "Door":
        """As FP32 is now, inside the settings that are now.

        Args:
            module: in eval mode.
            inputs: of the first eval batch.
            own: the user's `quant_forward`.
        """
        kept = copied(taken(inputs, min(SAMPLES, size_of(inputs))))
        try:
            outputs = _outputs(module, kept, own)
        except Exception:  # the batch's size is a part of the model
            kept = copied(inputs)
            outputs = _outputs(module, kept, own)
        return cls(
            GlobalState.now().without_hooks(),
            Modes.of(module),
            kept,
            outputs,
            *_code(module),
        )

    def held_by(self, test: str) -> None:
        """Note the test that has it in hand from now on."""
        self.holder = test
        if test and test not in self.since:
            self.since.append(test)

    def handed_to(self, names: list[str]) -> None:
        """Note who alone has it in hand, just after it was seen as it was: a build, a training loop."""
        self.since = list(names)

    def refuse_moved(self, module: Any, own: Forward | None) -> None:
        """FP32 must be what it was: types, code, and outputs; a difference of the last bits is a note.

        To be called inside the door's settings.

        Raises:
            QuantStageError: it is not; names who has had it in the meantime.
        """
        with self.modes.held(module):
            what = self._moved(module, own)
        if what is None:
            self.since = [self.holder] if self.holder else []
            self.blamed = ()
            return
        self.blamed = self.blamed or tuple(self.since)
        named = listed(self.blamed, SHOWN, counted=True)
        who = f"; since it was last intact, it was used by {named}" if self.blamed else ""
        raise QuantStageError(
            "evaluate",
            f"FP32 was changed during the run: {what}{who}. All variants are compared with it, so "
            "change only a copy of it, and no class or function that it uses.",
        )

    def _moved(self, module: Any, own: Forward | None) -> str | None:
        """What is not as it was, in half a sentence."""
        types, forwards = _code(module)
        for name in {**self.types, **types}:
            if types.get(name) is not self.types.get(name):
                return (
                    f"its module {name or 'itself'} was {_named(self.types.get(name))} and is "
                    f"{_named(types.get(name))}"
                )
        for name in forwards:
            if forwards[name] is not self.forwards[name]:
                return f"forward of {types[name].__name__} was replaced"
        try:
            outputs = _outputs(module, self.inputs, own)
        except Exception as error:
            return f"it cannot run any more ({in_brief(error)})"
        moved = distance(self.outputs, outputs)
        if moved > MOVED:
            return f"its outputs for the same inputs differ by {_percent(moved)} of the largest one"
        if moved:
            by = f", since {', '.join(self.since)}" if self.since else ""
            note = f"FP32's last bits changed during the run (by {moved:.0e} of the largest output{by})"
            if not any(each.startswith("FP32's last bits") for each in self.notes):
                self.notes.append(note)
        return None


def distance(before: list[Any], now: list[Any]) -> float:
    """By how much tensors differ at most, each as a share of its largest value; infinite for another form.

    Integers, and where values are not finite, have to be equal.
    """
    if len(before) != len(now):
        return math.inf
    return max((_apart(*pair) for pair in zip(before, now, strict=True)), default=0.0)


def _apart(before: Any, now: Any) -> float:
    import torch

    if before.shape != now.shape or before.dtype != now.dtype:
        return math.inf
    if not before.numel() or torch.equal(before, now):
        return 0.0
    if not (before.is_floating_point() or before.is_complex()):
        return math.inf
    largest = _largest(before)
    finite = torch.isfinite(before)
    if not torch.equal(finite, torch.isfinite(now)):
        return math.inf
    if not torch.equal(*(torch.nan_to_num(each[~finite]) for each in (before, now))):
        return math.inf
    apart = _largest(before[finite] - now[finite])
    return apart / largest if largest else math.inf if apart else 0.0


def _largest(tensor: Any) -> float:
    import torch

    if not tensor.numel() or tensor.dtype == torch.bool:
        return 0.0
    values = tensor.abs().double()
    values = values[torch.isfinite(values)]
    return float(values.max()) if values.numel() else 0.0


def _outputs(module: Any, inputs: Any, own: Forward | None) -> list[Any]:
    import torch

    with torch.inference_mode():
        given = call(module, inputs, own)
        tensors = [thinned(tensor, MOST_VALUES) for tensor in numbers_in(given)]
        if tensors:
            return tensors
        size = size_of(inputs)  # of texts, for example
        return [torch.tensor(list(digest)) for digest in digests(given, size)]


def thinned(tensor: Any, most: int) -> Any:
    """A tensor's values, of a larger one than `most` every n-th, as one's own."""
    values = tensor.detach().reshape(-1)
    return values[:: 1 + values.numel() // most].clone()


def _code(module: Any) -> tuple[dict[str, type], dict[str, Any]]:
    """Of each submodule its type, and the function that it runs, by name."""
    types = {name: type(child) for name, child in module.named_modules()}
    forwards = {
        name: vars(child).get("forward", inspect.getattr_static(type(child), "forward", None))
        for name, child in module.named_modules()
    }
    return types, forwards


def _named(kind: type | None) -> str:
    return "not there" if kind is None else kind.__name__


def _percent(share: float) -> str:
    return "all" if math.isinf(share) else f"{100 * share:.3g} %"
