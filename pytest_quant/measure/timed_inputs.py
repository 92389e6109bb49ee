"""Timed inputs: for each call of a timed block inputs that are like the given ones and were never seen.

A model that remembers what it gave for an input would else be timed at remembering.
"""

import itertools
from collections.abc import Callable
from typing import Any

from pytest_quant.subject.batches import Forward, copied, mapped, run, size_of, tensors_in
from pytest_quant.subject.door import MOVED, distance

STEP = 2.0**-22  # relative; the values are others, and what the model makes of them is not
STEPS = 2**16  # until they come again, when they are 1.6 % larger
CHECKED = STEPS // 2
COLUMNS = 16  # of integers that are exchanged between samples
MOST_BYTES = 64 * 10**6  # of a block's inputs; in 20 ms hardly any model reads more
PLACES = 4  # at which an input is tried, some of which a model that goes by places has not seen
ROOM = 2**20  # elements round each, so that none lies where small inputs come and go
SPARE = 4  # inputs for calls that are not timed


class TimedCall:
    """One call of a model, on inputs of its own.

    Args:
        model: that is called.
        inputs: like which its inputs are; they stay as they are.
        own: the user's `quant_forward`.
    """

    def __init__(self, model: Any, inputs: Any, own: Forward | None) -> None:
        self.model = model
        self.own = own
        self._inputs = inputs
        self._most = max(1, MOST_BYTES // max(1, sum(each.nbytes for each in tensors_in(inputs))))
        self._slots = [copied(inputs) for _ in range(min(SPARE, self._most))]
        self._spare = itertools.cycle(list(self._slots))
        self._seen = 0
        self._varies = True

    def __call__(self) -> Any:
        """For what is not timed."""
        return run(self.model, next(self._spare), self.own)

    def fresh(self, calls: int) -> Callable[[], Any]:
        """The call of a block of so many, each of which is given values that it never was given."""
        count = min(calls, self._most)
        first = SPARE if self._most > SPARE else 0  # of large inputs there are none to spare
        while len(self._slots) < first + count:
            self._slots.append(copied(self._inputs))
        slots = self._slots[first : first + count]
        for slot in slots:
            self._seen += 1
            self._fill(slot, self._seen)
        model, own, given = self.model, self.own, itertools.cycle(slots)

        def call() -> Any:
            inputs = next(given)
            try:
                return run(model, inputs, own)
            except Exception:
                if not self._varies:
                    raise
            self._varies = False  # values have a meaning, as ids that another column has not
            for slot in slots:
                self._fill(slot, 0)
            return run(model, inputs, own)

        return call

    def check(self) -> str | None:
        """Why its times would say nothing, in half a sentence; None where they would.

        Calls it twice, in its context. Inputs that were changed in place are other inputs; a model that
        gives the outputs of before has not looked at them.

        Raises:
            Exception: whatever the model raises on the inputs as they are given.
        """
        slot = _placed(self._inputs, 0)
        before = self._outputs(slot)
        try:
            self._fill(slot, CHECKED, scale=0.5)
            after = self._outputs(slot)
        except Exception:  # rows belong to their places, or values have a meaning
            self._varies = False
            return None
        if not before or distance(before, after):
            return None
        others = []  # all alive, so that they lie apart
        for place in range(1, PLACES):
            others.append(other := _placed(self._inputs, place))
            self._fill(other, CHECKED, scale=0.5)
            if distance(after, self._outputs(other)) > MOVED:
                return (
                    "for an input that was changed in place it gives the outputs of before, which it "
                    "remembers"
                )
        return None

    def _outputs(self, inputs: Any) -> list[Any]:
        return [tensor.clone() for tensor in tensors_in(run(self.model, inputs, self.own))]

    def _fill(self, slot: Any, number: int, scale: float = 1.0) -> None:
        """Write the given inputs, in their variation of a number, into a place of their own."""
        import torch

        pairs = list(zip(tensors_in(self._inputs), tensors_in(slot), strict=True))
        if not self._varies:
            number, scale = 0, 1.0
        factor = scale * (1 + number % STEPS * STEP)
        has_floats = any(given.is_floating_point() for given, _ in pairs)
        order = None
        size = size_of(self._inputs)
        if size > 1 and number and (len(pairs) == 1 or not has_floats):
            generator = torch.Generator().manual_seed(number)
            order = torch.randperm(size, generator=generator)
        for given, own in pairs:
            values = given
            if order is not None and given.ndim and given.shape[0] == size:
                values = given[order] if has_floats else _exchanged(given, order, number)
            elif not has_floats and size == 1 and number and given.ndim > 1:
                generator = torch.Generator().manual_seed(number)
                values = given[..., torch.randperm(given.shape[-1], generator=generator)]
            if given.is_floating_point():
                torch.mul(values, factor, out=own)
                if not given.any():
                    own += factor - scale
            else:
                own.copy_(values)


def _exchanged(given: Any, order: Any, number: int) -> Any:
    """Integers in another order of samples, which besides exchange some columns, so that each sample is one
    that was never seen; every column keeps its values, and mask and ids stay together."""
    import torch

    values = given[order]
    if given.ndim < 2:
        return values
    generator = torch.Generator().manual_seed(number)
    columns = torch.randperm(given.shape[1], generator=generator)[:COLUMNS]
    for column in columns[columns > 0].tolist():  # the first goes with numbers of the whole sample
        others = torch.randperm(len(order), generator=generator)
        values[:, column] = given[others, column]
    return values


def _placed(inputs: Any, place: int) -> Any:
    """A copy at one of several places of its own memory, where no input has been before."""

    def put(tensor: Any) -> Any:
        import torch

        dense = tensor.clone()
        room = torch.empty(ROOM + dense.numel(), dtype=dense.dtype)
        own = room.as_strided(dense.shape, dense.stride(), ROOM // PLACES * place)
        return own.copy_(dense)

    return mapped(inputs, put, objects=True)
