"""Spread: the map over the batches of the eval data, run by one of joblib's backends."""

import importlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.measure.accuracy import here
from pytest_quant.measure.scored import ScoredBatch, Scoring, score_batch
from pytest_quant.store.spread.parcel import NotSpread, Sent, Source, packed
from pytest_quant.store.spread.worker import score_part
from pytest_quant.subject.batches import batches_of, yields_singles
from pytest_quant.variant.variant import Variant

PARTS = 4  # for each worker, so that one that is slow does not hold up all
LOKY = "loky"  # joblib's processes on this machine


class Spread:
    """Scores a variant's batches on several processes; what they give is as from one.

    Batches keep their composition, so that bits are the same. A worker that dies is started once more;
    then the batches that end it are named.

    Args:
        jobs: processes.
        backend: a name that joblib knows: ``loky``, ``ray``, or one that the user has registered.
    """

    def __init__(self, jobs: int, backend: str = LOKY) -> None:
        self.jobs = jobs
        self.backend = backend
        self._folder: Any = None

    def __call__(self, variant: Variant, model: Any, who: str) -> Iterator[ScoredBatch]:
        """Each batch's scores, in the order of the data; by this process where it has to be, which is
        noted with the reason.

        Raises:
            QuantStageError: as without workers; or workers die.
        """
        try:
            if model is not variant.model:
                raise NotSpread("only the converted model is sent to other processes")
            source, batches = _plan(variant)
            sent = packed(variant, source, self._place())
        except NotSpread as error:
            if model is variant.model:
                variant.notes.append(f"evaluated by one process, not by {self.jobs}: {error}")
            yield from here(variant, model, who)
            return
        first = 1 if variant.is_fp32 else 0  # batches on whose outputs the metrics are tried
        own = batches[:first] if source is None else source.batches(batches[:first])
        for batch in own:
            yield score_batch(Scoring.of(variant), model, who, batch, whole=True)
        batches = batches[first:]
        size = max(1, -(-len(batches) // (self.jobs * PARTS)))
        parts = [batches[i : i + size] for i in range(0, len(batches), size)]
        yield from self._in_order(sent, who, parts, first)

    def close(self) -> None:
        """End the workers."""
        if self.backend == LOKY and self._folder is not None:
            from joblib.externals.loky import get_reusable_executor

            get_reusable_executor().shutdown(wait=True, kill_workers=True)
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _place(self) -> Path | None:
        """The folder of parcels; of a cluster none, whose machines need not see it."""
        if self.backend != LOKY:
            return None
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="pytest-quant-spread-")
        return Path(self._folder.name)

    def _in_order(
        self, sent: Sent, who: str, parts: list[list[Any]], before: int
    ) -> Iterator[ScoredBatch]:
        done: dict[int, list[ScoredBatch]] = {}
        ready = 0
        for attempt in range(2):
            left = [index for index in range(len(parts)) if index >= ready and index not in done]
            try:
                for index, scored in self._run(sent, who, [(i, parts[i]) for i in left]):
                    done[index] = scored
                    while ready in done:
                        yield from done.pop(ready)
                        ready += 1
            except QuantStageError:
                raise
            except _died() as error:
                if attempt:
                    raise self._ended(sent, who, parts, ready, done, before, error) from error
            else:
                return

    def _run(
        self, sent: Sent, who: str, parts: list[tuple[int, list[Any]]]
    ) -> Iterator[tuple[int, list[ScoredBatch]]]:
        from joblib import Parallel, delayed

        if self.backend == "ray":
            importlib.import_module("ray.util.joblib").register_ray()
        given: dict[str, Any] = {"n_jobs": self.jobs, "backend": self.backend, "batch_size": 1}
        run: Any
        try:
            run = Parallel(**given, return_as="generator_unordered")
        except ValueError:  # of a backend that gives its results at the end, as Ray's
            run = Parallel(**given)
        yield from run(delayed(_numbered)(index, sent, who, part) for index, part in parts)

    def _ended(
        self,
        sent: Sent,
        who: str,
        parts: list[list[Any]],
        ready: int,
        done: dict[int, Any],
        before: int,
        error: BaseException,
    ) -> QuantStageError:
        """The error that names the first batch that ends a worker whenever it is tried."""
        for index in range(ready, len(parts)):
            if index in done:
                continue
            earlier = before + sum(map(len, parts[:index]))
            for number, batch in enumerate(parts[index], start=earlier):
                try:
                    for _ in self._run(sent, who, [(0, [batch])]):
                        pass
                except _died() as again:
                    return QuantStageError(
                        "evaluate",
                        f"a worker of --quant-jobs died on batch {number} of quant_eval_data with {who}, "
                        f"and again when it was tried anew ({in_brief(again)}). Run without "
                        "--quant-jobs to see whether this process dies too, or give workers more memory.",
                    )
        return QuantStageError(
            "evaluate",
            f"workers of --quant-jobs died twice with {who}, though on no batch alone "
            f"({in_brief(error)}). Give fewer workers, or more memory.",
        )


def _numbered(index: int, sent: Sent, who: str, part: list[Any]) -> tuple[int, list[ScoredBatch]]:
    return index, score_part(sent, who, part)


def _died() -> tuple[type[BaseException], ...]:
    """What joblib raises when a worker is there no longer."""
    from joblib.externals.loky.process_executor import BrokenProcessPool

    found: list[type[BaseException]] = [BrokenProcessPool]
    try:
        from ray.exceptions import RayError

        found.append(RayError)
    except ImportError:
        pass
    return tuple(found)


def _plan(variant: Variant) -> tuple[Source | None, list[Any]]:
    """The source of batches with the indices of each, or the batches themselves.

    Raises:
        NotSpread: the data can be read by one process only.
    """
    from torch.utils.data import DataLoader, IterableDataset

    given = variant.subject.eval_data
    if isinstance(given, list | tuple):
        if yields_singles(given, "quant_eval_data", variant.subject.batch):
            raise NotSpread("quant_eval_data yields single samples")
        return None, list(given)
    data = batches_of(given, "quant_eval_data")
    if not isinstance(data, DataLoader):
        raise NotSpread(f"quant_eval_data is a {type(data).__name__}, which one process reads")
    if type(data).__iter__ is not DataLoader.__iter__ or isinstance(data.dataset, IterableDataset):
        raise NotSpread(
            f"the {type(data).__name__} of quant_eval_data can be read in one order only"
        )
    if data.batch_sampler is None:
        raise NotSpread("quant_eval_data has no batches of its own")
    if yields_singles(given, "quant_eval_data", variant.subject.batch):
        raise NotSpread("quant_eval_data yields single samples")
    with variant.isolated((data,)):
        indices = [list(batch) for batch in data.batch_sampler]
    return Source(data.dataset, data.collate_fn, data.worker_init_fn), indices
