"""Telling samples: those that noise is measured on, half of them those whose score changes most,
since these are what the gate is about, the others the first ones of the eval data."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from pytest_quant.subject.batches import each_batch, on_cpu, size_of, taken, unpack
from pytest_quant.subject.digests import sample_digests
from pytest_quant.subject.samples import joined, rows
from pytest_quant.variant.evaluation import MARK
from pytest_quant.variant.variant import Variant

SAMPLES = 32
SECONDS = 5.0  # for reading the eval data until enough of them are found


def probe_of(variant: Variant, samples: int = SAMPLES) -> Any:
    """Inputs of at most so many samples; of the first eval batch alone where no scores are known yet."""
    return variant.once(f"probe {samples}", lambda: _probe(variant, samples))


def _probe(variant: Variant, samples: int) -> Any:
    first = variant.admitted.first_inputs
    size = size_of(first)
    if not size:
        return first
    most = min(samples, size)  # flow pt2e compiles for batches as large as the first
    usual = taken(first, most)
    found = list(_flipped(variant, most // 2))
    try:
        parts = [usual, *found]
        whole = joined(parts, [most, *[1] * len(found)]) if found else usual
        return rows(whole, range(len(found), most + len(found)), most + len(found))
    except (ValueError, KeyError, TypeError, RuntimeError):  # samples of several shapes
        return usual


def _flipped(variant: Variant, most: int) -> Iterator[Any]:
    """Inputs of single samples that are known to be scored otherwise, those first that change most."""
    own, fp32 = variant.measured("evaluation"), variant.fp32.measured("evaluation")
    name = variant.admitted.metrics[0].name
    if own is None or fp32 is None or name not in own.scores or name not in fp32.scores:
        return
    change = np.nan_to_num(np.abs(own.scores[name] - fp32.scores[name]))
    order = np.argsort(-change, kind="stable")[:most]
    wanted = {mark[:MARK] for mark in own.samples[order[change[order] > 0]].tolist()}
    if not wanted:
        return
    subject, end = variant.subject, time.perf_counter() + SECONDS
    with variant.isolated((subject.eval_data,)):
        for batch in each_batch(subject.eval_data, "quant_eval_data", subject.batch):
            raw, targets = unpack(batch, "quant_eval_data", subject.batch)
            inputs, size = on_cpu(raw), size_of(raw)
            for index, digest in enumerate(sample_digests(inputs, targets, size)[1]):
                if digest.hex()[:MARK].encode() in wanted:
                    wanted.remove(digest.hex()[:MARK].encode())
                    yield rows(inputs, [index], size)
                if not wanted:
                    return
            if time.perf_counter() > end:
                return
