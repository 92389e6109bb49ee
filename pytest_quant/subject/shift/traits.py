"""Traits: what is known of each sample of each input, small enough to compare sets by.

Of an image, a sound or a series: mean and deviation of each channel, which is axis 1. Of a row of a table:
its columns. Of a text: the ids in it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pytest_quant.subject.samples import is_by_sample, is_packed

MOST_CHANNELS = (
    64  # beyond it axis 1 is a length or a feature, and a sample is looked at as a whole
)
MOST_COLUMNS = 64

Paths = Mapping[str, "Traits"]


@dataclass(slots=True, eq=False)
class Traits:
    """Of one input, over samples. Each is there only where the input is of that form.

    Args:
        moments: [n, channels, 3]: mean and deviation of each channel, and the share of its values that are
            the first one, as those of a border are.
        columns: [n, columns] of a table.
        texts: the ids of each, [ids].
        low, high: of all values.
        counts: whether all values are whole numbers, as ids are.
        broken: of each sample whether it holds NaN or infinity, [n].
    """

    moments: Any = None
    columns: Any = None
    texts: list[Any] = field(default_factory=list)
    low: float = np.inf
    high: float = -np.inf
    counts: bool = False
    broken: Any = None

    def __len__(self) -> int:
        for part in (self.moments, self.columns):
            if part is not None:
                return len(part)
        return len(self.texts)


class Seen:
    """Inputs of which the traits are kept, as they come."""

    def __init__(self, samples: int = 0, parts: dict[str, list[Traits]] | None = None) -> None:
        self.samples = samples
        self.parts = parts or {}

    def add(self, inputs: Any, size: int) -> None:
        """Inputs of a few samples, and how many they are."""
        _look(inputs, size, "", lambda path, part: self.parts.setdefault(path, []).append(part))
        self.samples += size

    def traits(self, most: int) -> dict[str, Traits]:
        """Of each input, by its place among the model's arguments, empty for a single one; of so many
        samples at most, drawn from them at random."""
        random = np.random.default_rng(0)
        return {path: _whole(own, random, most) for path, own in self.parts.items()}


def traits_of(some: Iterable[tuple[Any, int]], most: int) -> dict[str, Traits]:
    """The traits of each input, as `Seen.traits` gives them.

    Args:
        some: inputs of a few samples, and how many they are.
        most: samples that are kept, at random.
    """
    seen = Seen()
    for inputs, size in some:
        seen.add(inputs, size)
    return seen.traits(most)


def _look(value: Any, size: int, path: str, add: Callable[[str, Traits], None]) -> None:
    import torch

    if isinstance(value, torch.Tensor):
        value = value.detach()
        value = value.float() if value.is_floating_point() else value
        if not value.is_complex() and not value.is_sparse and value.numel():
            add(path, _of_array(value.cpu().numpy() if value.ndim else value[None].numpy(), size))
    elif isinstance(value, np.ndarray):
        if value.dtype.kind in "fiub" and value.size:
            add(path, _of_array(np.atleast_1d(value), size))
    elif isinstance(value, str):
        if value:
            add(path, Traits(texts=[np.frombuffer(value.encode(errors="replace"), np.uint8)]))
    elif isinstance(value, Mapping):
        for key in value:
            _look(value[key], size, f"{path}.{key}".lstrip("."), add)
    elif is_packed(value):
        for item in torch.nn.utils.rnn.unpack_sequence(value):
            _look(item[None], 1, path, add)
    elif isinstance(value, list | tuple) and size > 1 and is_by_sample(value, size):
        for item in value:
            _look(_batched(item), 1, path, add)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _look(item, size, f"{path}[{index}]" if len(value) > 1 else path, add)
    elif hasattr(value, "__dict__") and not isinstance(value, type):
        _look(vars(value), size, path, add)


def _batched(item: Any) -> Any:
    """One sample as a batch of it."""
    import torch

    if isinstance(item, torch.Tensor | np.ndarray):
        return item[None]
    if isinstance(item, Mapping):
        return {key: _batched(part) for key, part in item.items()}
    return item


def _of_array(array: Any, size: int) -> Traits:
    """Of [n, ...]; what has no row for each sample is one."""
    if array.shape[0] != size:
        array = array[None]
    is_whole = array.dtype.kind in "iub"
    values = array.astype(np.float64 if is_whole else np.float32, copy=False)
    finite = np.isfinite(values)
    values = np.where(finite, values, 0.0)
    made = Traits(low=float(values.min()), high=float(values.max()), counts=is_whole)
    made.broken = ~finite.reshape(len(finite), -1).all(1)
    if array.ndim <= 2:
        flat = values.reshape(len(array), -1)
        if is_whole:
            made.texts = list(flat.astype(np.int64))
        if flat.shape[1] <= MOST_COLUMNS:
            made.columns = flat.astype(np.float64)
        elif not is_whole:
            made.moments = _moments(flat[:, None])
        return made
    channels = array.shape[1] if array.shape[1] <= MOST_CHANNELS else 1
    made.moments = _moments(values.reshape(len(array), channels, -1))
    return made


def _moments(values: Any) -> Any:
    """[n, channels, 3] of [n, channels, values]."""
    parts = [values.mean(2), values.std(2), (values == values[..., :1]).mean(2)]
    return np.stack(parts, 2).astype(np.float64)


def _whole(parts: list[Traits], random: Any, most: int) -> Traits:
    """Traits of several batches as one."""
    made = Traits(
        low=min(part.low for part in parts),
        high=max(part.high for part in parts),
        counts=all(part.counts for part in parts),
    )
    if all(part.broken is not None for part in parts):
        made.broken = np.concatenate([part.broken for part in parts])
    count = sum(map(len, parts))
    kept = np.sort(random.permutation(count)[:most])
    if all(part.moments is not None for part in parts):
        made.moments = _joined_moments([part.moments for part in parts])[kept]
    widths = {None if part.columns is None else part.columns.shape[1] for part in parts}
    if len(widths) == 1 and None not in widths:
        made.columns = np.concatenate([part.columns for part in parts])[kept]
    texts = [text for part in parts for text in part.texts]
    made.texts = [texts[i] for i in kept] if len(texts) == count else []
    return made


def _joined_moments(parts: list[Any]) -> Any:
    if len({part.shape[1] for part in parts}) > 1:
        parts = [over_channels(part) for part in parts]
    return np.concatenate(parts)


def over_channels(moments: Any) -> Any:
    """The moments of all channels together, [n, 1, 3]."""
    mean = moments[..., 0].mean(1)
    square = (moments[..., 1] ** 2 + moments[..., 0] ** 2).mean(1)
    deviation = np.sqrt(np.maximum(square - mean**2, 0.0))
    return np.stack([mean, deviation, moments[..., 2].mean(1)], 1)[:, None]
