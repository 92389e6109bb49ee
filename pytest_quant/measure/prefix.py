"""Prefix: the eval data in a random order fixed beforehand, scored only as far as somebody asks."""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from pytest_quant.machine.conditions import Conditions
from pytest_quant.measure.scored import Scoring, score_batch
from pytest_quant.subject.batches import batches_of, each_batch
from pytest_quant.subject.digests import digests
from pytest_quant.subject.scratch import Scratch
from pytest_quant.variant.evaluation import BatchScores, Evaluation, merged
from pytest_quant.variant.measurements import EVALUATED_WHOLE
from pytest_quant.variant.variant import Variant


class ScoredPrefix:
    """One model's scores on the first batches of a permutation that all its siblings share.

    Args:
        variant: whose scores.
        conditions: threads and seeds.
        loader: the data in permuted order.
        samples: in the whole set.
        seed: of the permutation.
    """

    def __init__(
        self, variant: Variant, conditions: Conditions, loader: Any, samples: int, seed: int
    ) -> None:
        self.samples = samples
        self.seed = seed
        self._variant = variant
        self._conditions = conditions
        self._source: Iterator[Any] | None = None
        self._loader = loader
        self._scratch = Scratch()
        self._batches: list[BatchScores] = []

    @property
    def seen(self) -> int:
        """Samples scored so far."""
        return sum(len(batch.samples) for batch in self._batches)

    def batch(self, index: int) -> BatchScores:
        """The scores of one batch, evaluated when it is first asked for."""
        variant = self._variant
        while len(self._batches) <= index:
            with variant.isolated(), variant.timed("evaluate"), variant.running():
                if self._source is None:
                    variant.refuse_moved_fp32()
                    self._source = each_batch(
                        self._loader, "quant_eval_data", variant.subject.batch
                    )
                batch = next(self._source)
                scored = score_batch(
                    Scoring.of(variant), variant.model, variant.name, batch, scratch=self._scratch
                )
            self._batches.append(scored.scores)
        return self._batches[index]

    def evaluation(self) -> Evaluation:
        """What is known so far, as an Evaluation of the samples seen."""
        per_sample = [m for m in self._variant.admitted.metrics if not m.is_accumulator]
        return merged(self._batches, per_sample, {})


def prefix_of(variant: Variant, conditions: Conditions) -> ScoredPrefix | None:
    """The variant's prefix, or None for data that cannot be read in another order; the variant knows why.

    The order is random but not open to choice: its seed is a digest of the data's size and first
    sample, so that nobody can draw until the gate is green. It holds what the loader gives: the samples
    that its sampler names.
    """
    from torch.utils.data import DataLoader, Subset

    data = batches_of(variant.subject.eval_data, "quant_eval_data")
    with variant.isolated((data,)):
        indices = _indices(data)
        if isinstance(indices, str):
            variant.keep(EVALUATED_WHOLE, indices)
            return None
        settings: dict[str, Any] = {
            "batch_size": data.batch_size,
            "collate_fn": data.collate_fn,
            "num_workers": data.num_workers,
            "worker_init_fn": data.worker_init_fn,
        }
        one: Any = DataLoader(Subset(data.dataset, indices[:1]), **{**settings, "batch_size": 1})
        first = digests(next(each_batch(one, "quant_eval_data")), 1)[0]
    samples = len(indices)
    seed = int.from_bytes(hashlib.blake2b(first + b"%d" % samples, digest_size=4).digest(), "big")
    order = np.random.default_rng(seed).permutation(samples).tolist()
    loader: Any = DataLoader(
        Subset(data.dataset, [indices[i] for i in order]), shuffle=False, **settings
    )
    return ScoredPrefix(variant, conditions, loader, samples, seed)


def _indices(data: Any) -> list[Any] | str:
    """The samples of the dataset that a loader gives, in an order of their own; or why these cannot be
    named."""
    from torch.utils.data import DataLoader, IterableDataset

    if not isinstance(data, DataLoader):
        return f"quant_eval_data is a {type(data).__name__}, no DataLoader or Dataset to draw from"
    if type(data).__iter__ is not DataLoader.__iter__:
        return f"{type(data).__name__} has an __iter__ of its own, which may give other samples"
    if isinstance(data.dataset, IterableDataset):
        return "an IterableDataset can be read in one order only"
    if data.batch_size is None:
        return "quant_eval_data has a batch_sampler of its own, or no batches"
    indices, again = list(data.sampler), list(data.sampler)
    if data.drop_last and len(indices) % data.batch_size:
        if indices != again:
            return "quant_eval_data drops its last batch, which holds other samples each time"
        indices = again = indices[: len(indices) - len(indices) % data.batch_size]
    try:
        indices, again = sorted(indices), sorted(again)
    except TypeError:
        return "the sampler of quant_eval_data gives indices without an order"
    if indices != again:
        return "the sampler of quant_eval_data draws other samples each time"
    return indices or "quant_eval_data has no samples"
