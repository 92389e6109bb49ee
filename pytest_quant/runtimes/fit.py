"""Fit: how the tensors of a model's call go into a file's inputs, and come out of its outputs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from pytest_quant.runtimes.naming import by_name, ways
from pytest_quant.runtimes.runtime import Array, Port, Session


class Unfit(Exception):
    """A file that does not take what the model takes, or does not give what it gives; says what."""


@dataclass(frozen=True, slots=True)
class Given:
    """A tensor that goes into a call, or comes out of it.

    Args:
        name: of the argument, or of the entry of a dict; None where it has none.
        array: its values.
    """

    name: str | None
    array: Array

    def __str__(self) -> str:
        return f"{self.name or 'a tensor'} {list(self.array.shape)} {self.array.dtype}"


@dataclass(frozen=True, slots=True)
class Fit:
    """How a file is called as the model is.

    Args:
        inputs, outputs: of the file.
        order: for each input, which of the call's tensors goes in.
        results: for each tensor that the model gives, which output it is.
        last: whether channels come last in the file, of inputs with three sizes and more.
        results_last: the same of each of the model's results.
        batch: how many samples a call takes; None for any number.
        notes: what a reader should know.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    order: tuple[int, ...]
    results: tuple[int, ...]
    last: bool = False
    results_last: tuple[bool, ...] = ()
    batch: int | None = None
    notes: tuple[str, ...] = ()

    def run(self, session: Session, arrays: Sequence[Array]) -> list[Array]:
        """The model's results, in its layout.

        Args:
            arrays: of the call, in its order.

        Raises:
            Unfit: when they do not fit.
        """
        values = self.values(arrays)
        outputs: Any = (
            session.run(values) if self.batch is None else self._in_parts(session, values)
        )
        found = []
        last = self.results_last or (False,) * len(self.results)
        for place, moved in zip(self.results, last, strict=True):
            found.append(_channels_first(real(outputs[place], self.outputs[place]), moved))
        return found

    def values(self, arrays: Sequence[Array]) -> list[Array]:
        """What goes into the file, of all samples.

        Raises:
            Unfit: when they do not fit.
        """
        values = []
        for port, place in zip(self.inputs, self.order, strict=True):
            array = arrays[place]
            if self.last and array.ndim > 2:
                array = np.moveaxis(array, 1, -1)
            refuse_other_sizes(port, array, self.batch)
            values.append(np.ascontiguousarray(as_taken(array, port)))
        return values

    def is_direct(self, arrays: Sequence[Array]) -> bool:
        """Whether the arrays go into the file as they are, and its outputs are the model's results."""
        is_plain = self.batch is None and not self.last and not any(self.results_last)
        if not is_plain or any(self.outputs[place].scale for place in self.results):
            return False
        taken = zip(self.values(arrays), self.order, strict=True)
        return all(value is arrays[place] for value, place in taken)

    def first_part(self, arrays: Sequence[Array]) -> tuple[list[Array], float]:
        """What goes into one call of the file, and how many such calls the arrays make."""
        values = self.values(arrays)
        if self.batch is None:
            return values, 1.0
        return [_part(v, 0, self.batch) for v in values], values[0].shape[0] / self.batch

    def _in_parts(self, session: Session, values: list[Array]) -> dict[int, Array]:
        """The results of as many calls as it takes, the last one filled up with the last sample."""
        assert self.batch is not None
        samples, parts = values[0].shape[0], dict[int, list[Array]]()
        for start in range(0, samples, self.batch):
            outputs = session.run([_part(value, start, self.batch) for value in values])
            for place in self.results:
                if not outputs[place].ndim:
                    raise Unfit(f"its output {self.outputs[place]} is one number for all samples")
                parts.setdefault(place, []).append(outputs[place][: samples - start])
        return {place: np.concatenate(pieces) for place, pieces in parts.items()}


def fitted(session: Session, given: Sequence[Given], wanted: Sequence[Given]) -> Fit:
    """How a file is called as a model is.

    Its inputs are found by name, else by order; its layout by its sizes. Where several ways would do, it
    is the one that gives what is nearest to what the model gives.

    Args:
        given: what goes into the model's call, on the first batch.
        wanted: what the model gives for it.

    Raises:
        Unfit: when it takes or gives something else.
    """
    orders, notes = _orders(session.inputs, given)
    arrays = [each.array for each in given]
    batch = _batch(session.inputs, [arrays[place] for place in orders[0]])
    if batch is not None:
        notes.append(f"takes {batch} sample{'s' * (batch > 1)} at a time")
    choices, more = _results(session.outputs, wanted)
    layouts = (False, True) if any(array.ndim > 2 for array in arrays) else (False,)
    found, errors = list[tuple[float, Fit]](), list[Exception]()
    for last, order, places in product(layouts, orders, choices):
        fit = Fit(session.inputs, session.outputs, order, places, last, batch=batch)
        try:
            outputs = fit.run(session, arrays)
            moved = tuple(_is_moved(*pair) for pair in zip(wanted, outputs, strict=True))
            results = [_channels_first(*pair) for pair in zip(outputs, moved, strict=True)]
            near = likeness(wanted, results)
        except Exception as error:  # of ours, or of the runtime, to whom the layout is wrong
            errors.append(error)
            continue
        told = [f"takes its inputs channels last ({_letters(arrays)})"] if last else []
        whole = replace(fit, results_last=moved, notes=(*told, *notes, *more))
        found.append((near, whole))
    if not found:
        raise errors[0]
    return max(found, key=lambda pair: pair[0])[1]  # of equals the first


def likeness(wanted: Sequence[Given], outputs: Sequence[Array]) -> float:
    """How near those results of floats are to the model's that are the farthest, in dB; minus infinity for
    none."""
    found = []
    for each, output in zip(wanted, outputs, strict=True):
        if each.array.dtype.kind == "f":
            noise = np.square(each.array.astype(float) - output).sum()
            signal = np.square(each.array.astype(float)).sum()
            if not np.isfinite(noise) or not signal:
                continue
            found.append(float("inf") if not noise else float(10 * np.log10(signal / noise)))
    return min(found, default=-float("inf"))


def real(array: Array, port: Port) -> Array:
    """The real values that integers of a port stand for; anything else as it is."""
    if not port.scale:
        return array
    return ((array.astype(np.float32) - port.zero_point) * port.scale).astype(np.float32)


def as_taken(array: Array, port: Port) -> Array:
    """An array in a port's type.

    Raises:
        Unfit: when that would change what it says.
    """
    wanted = np.dtype(port.dtype) if port.dtype in _KNOWN else None
    if wanted is None:
        raise Unfit(f"its input {port} is of a type that the model's tensors cannot be turned into")
    if array.dtype == wanted and not port.scale:
        return array
    if port.scale and array.dtype.kind == "f":
        limits = np.iinfo(wanted)
        steps = np.round(array / np.float32(port.scale)) + port.zero_point
        return np.clip(steps, limits.min, limits.max).astype(wanted)
    if array.dtype.kind == wanted.kind == "f":
        return array.astype(wanted)
    if array.dtype.kind in "iub" and wanted.kind in "iub":
        changed = array.astype(wanted)
        if np.array_equal(changed, array):
            return changed
        raise Unfit(f"its input {port} cannot hold the model's, which go up to {array.max()}")
    raise Unfit(f"its input {port} takes other values than the model's, which are {array.dtype}")


_KNOWN = ("float32", "float64", "float16", "bool", "int8", "uint8", "int16", "uint16", "int32",
          "uint32", "int64", "uint64")  # fmt: skip


def refuse_other_sizes(port: Port, array: Array, batch: int | None) -> None:
    """An array must have the sizes that a port has, but for samples where these are taken in parts. A port
    without any may take a single number, or tell nothing, which the runtime knows."""
    if not port.shape:
        return
    sizes = [None, *port.shape[1:]] if batch is not None else list(port.shape)
    fits = len(sizes) == array.ndim and all(
        size in (None, own) for size, own in zip(sizes, array.shape, strict=True)
    )
    if not fits:
        raise Unfit(f"its input is {port}, and the model is given {list(array.shape)}")


def _orders(
    ports: tuple[Port, ...], given: Sequence[Given]
) -> tuple[list[tuple[int, ...]], list[str]]:
    """For each input, which tensor of the call: by name. Where only some have one, the others in order, or
    all in order."""
    named = by_name([port.name for port in ports], [each.name for each in given])
    if None in named and len(ports) != len(given):
        raise Unfit(
            f"it takes {_all(ports)}, and the model is called with {_all(given)}; export it with the names "
            "of the model's arguments"
        )
    left = [str(each.name) for place, each in enumerate(given) if place not in named]
    said = f"does not take {', '.join(left)}, which the model is called with"
    return ways(named, len(given)), [said] if len(ports) < len(given) else []


def _results(
    outputs: tuple[Port, ...], wanted: Sequence[Given]
) -> tuple[list[tuple[int, ...]], list[str]]:
    """For each of the model's results, which output; as `_orders`."""
    if len(outputs) < len(wanted):
        raise Unfit(f"it gives {_all(outputs)}, and the model gives {_all(wanted)}")
    named = by_name([each.name for each in wanted], [port.name for port in outputs])
    choices = ways(named, len(outputs))
    left = [port.name for place, port in enumerate(outputs) if place not in choices[0]]
    said = f"gives {', '.join(left)} beside what the model gives"
    return choices, [said] if left and None in named else []


def _batch(ports: tuple[Port, ...], arrays: Sequence[Array]) -> int | None:
    """How many samples a file of one fixed number takes."""
    samples = arrays[0].shape[0] if arrays and arrays[0].ndim else None
    fixed = {
        port.shape[0]
        for port, array in zip(ports, arrays, strict=True)
        if port.shape and array.ndim and array.shape[0] == samples
    }
    return next(iter(fixed)) or None if len(fixed) == 1 else None


def _is_moved(wanted: Given, output: Array) -> bool:
    """Whether an output has its channels last."""
    if output.shape == wanted.array.shape:
        return False
    if output.ndim > 2 and np.moveaxis(output, -1, 1).shape == wanted.array.shape:
        return True
    raise Unfit(f"it gives {list(output.shape)} where the model gives {wanted}")


def _channels_first(value: Array, are_last: bool) -> Array:
    return np.moveaxis(value, -1, 1) if are_last else value


def _part(value: Array, start: int, batch: int) -> Array:
    part = value[start : start + batch]
    if len(part) < batch:
        part = np.concatenate([part, np.repeat(part[-1:], batch - len(part), axis=0)])
    return np.ascontiguousarray(part)


def _all(items: Sequence[Any]) -> str:
    return ", ".join(map(str, items)) or "nothing"


def _letters(arrays: Sequence[Array]) -> str:
    most = max(array.ndim for array in arrays)
    return {3: "NLC", 4: "NHWC", 5: "NDHWC"}.get(most, "channels last")
