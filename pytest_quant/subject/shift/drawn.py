"""Drawn: some inputs of the user's data, at random from the whole of it, which is left as it was.

Loaders are often sorted, so that their beginning stands for nothing. What has an index is read where it is
wanted, without its loader; what can only be read from the front is read to its end, or not at all.
"""

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from pytest_quant.subject.batches import batches_of, inputs_only, on_cpu
from pytest_quant.subject.samples import rebuilt, rows, size_of
from pytest_quant.subject.singles import is_single

SAMPLES = 200
SECONDS = 0.8  # for one set: two are compared, and that is to take two seconds at most
MOST_INDICES = 200_000  # that a sampler of the user's is asked for
CHUNK = 32  # samples read at once, so that the time is looked at now and then
OF_A_BATCH = 32  # samples of each batch of what can only be read from the front

Some = tuple[Any, int]  # inputs of a few samples, and how many they are


def drawn(
    data: Any, fixture: str, unpack: Any = None, *, like: Any = None, seconds: float = SECONDS
) -> Iterator[Some]:
    """Inputs of about `SAMPLES` samples, a few at a time.

    Args:
        data: the user's, of a fixture.
        unpack: the user's `quant_batch`.
        like: inputs of a batch, by which single samples are known.
        seconds: after which no more is read.

    Raises:
        Unread: of what can only be read from the front, when the time is up before its end, or when
            reading it would use it up.
        Exception: whatever the data raises.
    """
    random, end = np.random.default_rng(0), time.perf_counter() + seconds
    source = batches_of(data, fixture)
    reader = _reader(source)

    def inputs_of(batch: Any) -> Any:
        inputs = on_cpu(inputs_only(batch, fixture, unpack))
        is_one = unpack is None and is_single(batch, like)
        return rebuilt(inputs, lambda leaf: leaf[None]) if is_one else inputs

    if reader is None:
        yield from _from_the_front(source, inputs_of, random, end)
        return
    places, read = reader
    for place, count in _places(len(places), random, _in_each(source, len(places))):
        batch = read(places[place] if count else [places[i] for i in place])
        yield _some(inputs_of(batch), random, count or SAMPLES)
        if time.perf_counter() > end:
            return


class Unread(Exception):
    """Nothing can be said of the whole of the data."""


def _in_each(source: Any, batches: int) -> int:
    """Samples to take of each batch; 0 where places are those of samples."""
    is_by_sample = getattr(source, "batch_size", None) is not None and not isinstance(
        source, Sequence
    )
    return 0 if is_by_sample else max(1, -(-SAMPLES // max(batches, 1)))


def _places(count: int, random: Any, in_each: int) -> Iterator[tuple[Any, int]]:
    """Which places to read: single ones of batches, or some at once of samples."""
    order = random.permutation(count)[:SAMPLES].tolist()
    if in_each:
        yield from ((place, in_each) for place in order)
        return
    for start in range(0, len(order), CHUNK):
        yield order[start : start + CHUNK], 0


def _reader(source: Any) -> tuple[Sequence[Any], Callable[[Any], Any]] | None:
    """The places of a list's batches, or of a loader's samples or batches, and what reads some; None for
    what has no index."""
    from torch.utils.data import DataLoader, IterableDataset

    if isinstance(source, Sequence):
        return range(len(source)), source.__getitem__
    if (
        not isinstance(source, DataLoader)
        or type(source).__iter__ is not DataLoader.__iter__
        or isinstance(source.dataset, IterableDataset)
    ):
        return None
    dataset, collate = _like(source.dataset), source.collate_fn

    def read(place: Any) -> Any:
        if not isinstance(place, list):
            return collate(dataset[place])
        several = getattr(dataset, "__getitems__", None)
        return collate(several(place) if several else [dataset[i] for i in place])

    if source.batch_size is not None or source.batch_sampler is None:
        return _indices(source.sampler, source.dataset), read
    return list(islice(_like(source.batch_sampler), MOST_INDICES)), read


def _indices(sampler: Any, dataset: Any) -> Sequence[Any]:
    """What a sampler chooses from, in any order."""
    from torch.utils.data import RandomSampler, SequentialSampler, SubsetRandomSampler

    if type(sampler) in (SequentialSampler, RandomSampler):
        return range(len(dataset))
    if type(sampler) is SubsetRandomSampler:
        return sampler.indices
    return list(islice(_like(sampler), MOST_INDICES))


def _from_the_front(
    source: Any, inputs_of: Callable[[Any], Any], random: Any, end: float
) -> Iterator[Some]:
    for batch in _batches(source):
        if time.perf_counter() > end:
            raise Unread
        yield _some(inputs_of(batch), random, OF_A_BATCH)


def _batches(source: Any) -> Iterator[Any]:
    """A pass that starts no processes and leaves the object's own counts alone."""
    from torch.utils.data import DataLoader, IterableDataset

    if isinstance(source, DataLoader) and isinstance(source.dataset, IterableDataset):
        _refuse_one_shot(source.dataset)
        if source.num_workers and type(source).__iter__ is DataLoader.__iter__:
            source = DataLoader(
                _like(source.dataset), batch_size=source.batch_size, collate_fn=source.collate_fn
            )
    _refuse_one_shot(source)
    return iter(_like(source))


def _refuse_one_shot(source: Any) -> None:
    """What gives the same iterator again would lack afterwards what was read now."""
    if iter(_like(source)) is iter(_like(source)):
        raise Unread


def _like(value: Any) -> Any:
    """A copy of an object, but not of what it holds: what it counts stays its own."""
    try:
        return copy.copy(value)
    except Exception:
        return value


def _some(inputs: Any, random: Any, most: int) -> Some:
    size = size_of(inputs)
    if size <= most:
        return inputs, size
    chosen = np.sort(random.permutation(size)[:most]).tolist()
    return rows(inputs, chosen, size), most
