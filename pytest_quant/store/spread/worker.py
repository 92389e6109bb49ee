"""Worker: a process that scores the batches that it is told; what it has loaded it keeps for the next."""

from contextlib import ExitStack
from typing import Any

from pytest_quant.machine.conditions import Conditions, isolated
from pytest_quant.measure.scored import ScoredBatch, score_batch
from pytest_quant.quantize.saved.variant_file import Loaded, restored
from pytest_quant.store.spread.parcel import Parcel, Sent, settings_of, unpacked
from pytest_quant.subject.modes import in_eval
from pytest_quant.subject.scratch import Scratch
from pytest_quant.variant.facts import FP32
from pytest_quant.variant.running import running_as_built

_loaded: dict[str, tuple[Parcel, Loaded | None]] = {}  # the last parcel alone


def score_part(sent: Sent, who: str, batches: list[Any]) -> list[ScoredBatch]:
    """Score some batches.

    Args:
        sent: model, code and settings.
        who: the variant, for messages.
        batches: indices, where the parcel has a source; else the batches themselves.

    Raises:
        QuantStageError: as in a run without workers.
    """
    if sent.digest not in _loaded:
        _loaded.clear()
        parcel = unpacked(sent)
        with isolated(Conditions(threads=parcel.threads), state=settings_of(parcel)):
            variant = None
            if parcel.variant is not None:
                variant = restored(parcel.variant, f"the worker's copy of {who}", parcel.fp32)
        _loaded[sent.digest] = parcel, variant
    parcel, variant = _loaded[sent.digest]
    conditions = Conditions(threads=parcel.threads, seed=parcel.seed)
    model = parcel.fp32 if variant is None else variant.model
    with ExitStack() as stack:
        stack.enter_context(isolated(conditions, state=settings_of(parcel)))
        if variant is None:
            stack.enter_context(in_eval(model))
            stack.enter_context(running_as_built(model, None, FP32))
        else:
            stack.enter_context(variant.running())
        source = batches if parcel.source is None else parcel.source.batches(batches)
        scratch = Scratch()
        return [score_batch(parcel.scoring, model, who, each, scratch=scratch) for each in source]
