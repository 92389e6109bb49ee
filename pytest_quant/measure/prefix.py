"""Prefix: the eval data in a random order fixed beforehand, scored only as far as somebody asks."""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from pytest_quant.machine.conditions import Conditions
from pytest_quant.measure.accuracy import score_one
from pytest_quant.subject.batches import DATASET_BATCH, each_batch
from pytest_quant.subject.digests import digests
from pytest_quant.variant.evaluation import BatchScores, Evaluation, merged
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
                    self._source = each_batch(self._loader, "quant_eval_data")
                batch = next(self._source)
                scores, _, _ = score_one(variant, variant.model, variant.name, batch)
            self._batches.append(scores)
        return self._batches[index]

    def evaluation(self) -> Evaluation:
        """What is known so far, as an Evaluation of the samples seen."""
        per_sample = [m for m in self._variant.admitted.metrics if not m.is_accumulator]
        return merged(self._batches, per_sample, {})


def prefix_of(variant: Variant, conditions: Conditions) -> ScoredPrefix | None:
    """The variant's prefix, or None for data that cannot be read in another order.

    The order is random but not open to choice: its seed is a digest of the data's size and first
    sample, so that nobody can draw until the gate is green.
    """
    from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset

    data = variant.subject.eval_data
    settings: dict[str, Any] = {"batch_size": DATASET_BATCH}
    if isinstance(data, DataLoader):
        settings = {
            "batch_size": data.batch_size,
            "collate_fn": data.collate_fn,
            "num_workers": data.num_workers,
        }
        data = data.dataset
    if isinstance(data, IterableDataset) or not isinstance(data, Dataset):
        return None
    if settings["batch_size"] is None or not hasattr(data, "__len__") or not len(data):
        return None
    samples = len(data)
    with variant.isolated():
        single: Any = DataLoader(Subset(data, [0]), **{**settings, "batch_size": 1})
        first = digests(next(each_batch(single, "quant_eval_data")), 1)[0]
    seed = int.from_bytes(hashlib.blake2b(first + b"%d" % samples, digest_size=4).digest(), "big")
    order = np.random.default_rng(seed).permutation(samples).tolist()
    loader: Any = DataLoader(Subset(data, order), shuffle=False, **settings)
    return ScoredPrefix(variant, conditions, loader, samples, seed)
