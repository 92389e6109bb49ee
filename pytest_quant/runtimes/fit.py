"""Fit: how the tensors of a model's call go into a file's inputs, and come out of its outputs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

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
        outputs = session.run(values) if self.batch is None else self._in_parts(session, values)
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

    def _in_parts(self, session: Session, values: list[Array]) -> list[Array]:
        """As many calls as it takes, the last one filled up with the last sample."""
        assert self.batch is not None
        samples, parts = values[0].shape[0], list[list[Array]]()
        for start in range(0, samples, self.batch):
            outputs = session.run([_part(value, start, self.batch) for value in values])
            parts.append([each[: samples - start] for each in outputs])
        return [np.concatenate(pieces) for pieces in zip(*parts, strict=True)]


def fitted(session: Session, given: Sequence[Given], wanted: Sequence[Given]) -> Fit:
    """How a file is called as a model is.

    Its inputs are found by name, else by order; its layout by its sizes and, where both would do, by
    which gives what the model gives.

    Args:
        given: what goes into the model's call, on the first batch.
        wanted: what the model gives for it.

    Raises:
        Unfit: when it takes or gives something else.
    """
    order, notes = _order(session.inputs, given)
    arrays = [each.array for each in given]
    batch = _batch(session.inputs, [arrays[place] for place in order])
    if batch is not None:
        notes.append(f"takes {batch} sample{'s' * (batch > 1)} at a time")
    places, more = _results(session.outputs, wanted)
    notes += more
    found, errors = list[tuple[float, Fit]](), list[Exception]()
    for last in (False, True):
        if last and not any(array.ndim > 2 for array in arrays):
            continue
        fit = Fit(session.inputs, session.outputs, order, places, last, batch=batch)
        try:
            outputs = fit.run(session, arrays)
            moved = tuple(_is_moved(*pair) for pair in zip(wanted, outputs, strict=True))
        except Exception as error:  # of ours, or of the runtime, to whom the layout is wrong
            errors.append(error)
            continue
        told = [f"takes its inputs channels last ({_letters(arrays)})"] if last else []
        whole = replace(fit, results_last=moved, notes=(*told, *notes))
        results = [_channels_first(*pair) for pair in zip(outputs, moved, strict=True)]
        found.append((likeness(wanted, results), whole))
    if not found:
        raise errors[0]
    return max(found, key=lambda pair: (pair[0], not pair[1].last))[1]


def likeness(wanted: Sequence[Given], outputs: Sequence[Array]) -> float:
    """How near the first results of floats are to the model's, in dB; minus infinity for none."""
    for each, output in zip(wanted, outputs, strict=True):
        if each.array.dtype.kind == "f":
            noise = np.square(each.array.astype(float) - output).sum()
            signal = np.square(each.array.astype(float)).sum()
            if not np.isfinite(noise) or not signal:
                break
            return float("inf") if not noise else float(10 * np.log10(signal / noise))
    return -float("inf")


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
    """An array must have the sizes that a port has, but for samples where these are taken in parts."""
    sizes = [None, *port.shape[1:]] if batch is not None else list(port.shape)
    fits = len(sizes) == array.ndim and all(
        size in (None, own) for size, own in zip(sizes, array.shape, strict=True)
    )
    if not fits:
        raise Unfit(f"its input is {port}, and the model is given {list(array.shape)}")


def _order(ports: tuple[Port, ...], given: Sequence[Given]) -> tuple[tuple[int, ...], list[str]]:
    """For each input, which tensor of the call: by name, else by order."""
    names = {_plain(each.name): place for place, each in enumerate(given) if each.name}
    wanted = [_plain(port.name) for port in ports]
    if all(name in names for name in wanted):
        order = tuple(names[name] for name in wanted)
        left = [str(given[place].name) for place in range(len(given)) if place not in order]
        said = f"does not take {', '.join(left)}, which the model is called with"
        return order, [said] if left else []
    if len(ports) == len(given):
        return tuple(range(len(given))), []
    raise Unfit(
        f"it takes {_all(ports)}, and the model is called with {_all(given)}; export it with the names of "
        "the model's arguments"
    )


def _results(
    outputs: tuple[Port, ...], wanted: Sequence[Given]
) -> tuple[tuple[int, ...], list[str]]:
    """For each of the model's results, which output: by name, else by order."""
    names = {_plain(port.name): place for place, port in enumerate(outputs)}
    if all(each.name and _plain(each.name) in names for each in wanted):
        return tuple(names[_plain(each.name)] for each in wanted), []
    if len(outputs) < len(wanted):
        raise Unfit(f"it gives {_all(outputs)}, and the model gives {_all(wanted)}")
    left = [port.name for port in outputs[len(wanted) :]]
    said = f"gives {', '.join(left)} beside what the model gives"
    return tuple(range(len(wanted))), [said] if left else []


def _batch(ports: tuple[Port, ...], arrays: Sequence[Array]) -> int | None:
    """How many samples a file of one fixed number takes."""
    samples = arrays[0].shape[0] if arrays and arrays[0].ndim else None
    fixed = {
        port.shape[0]
        for port, array in zip(ports, arrays, strict=True)
        if port.shape and array.ndim and array.shape[0] == samples
    }
    return next(iter(fixed)) if len(fixed) == 1 else None


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


def _plain(name: str | None) -> str:
    """A name without what exporters put around it: ``serving_default_x:0`` is ``x``."""
    return (name or "").split(":")[0].removeprefix("serving_default_").lower()


def _all(items: Sequence[Any]) -> str:
    return ", ".join(map(str, items)) or "nothing"


def _letters(arrays: Sequence[Array]) -> str:
    most = max(array.ndim for array in arrays)
    return {3: "NLC", 4: "NHWC", 5: "NDHWC"}.get(most, "channels last")
