"""Later batches: what else than the first batch the eval data has."""

import random
from collections.abc import Iterator
from itertools import islice
from typing import Any

from pytest_quant.subject.batches import each_batch, on_cpu, unpack
from pytest_quant.variant.variant import Variant


def later_batches(fp32: Variant) -> Iterator[Any]:
    """The inputs of each eval batch but the first; of a list in random order, since it may be sorted.

    Raises:
        QuantStageError: when one cannot be read.
    """
    subject = fp32.subject
    data = subject.eval_data
    batches = each_batch(data, "quant_eval_data", subject.batch, like=fp32.admitted.first_inputs)
    later: Iterator[Any] = islice(batches, 1, None)
    if isinstance(data, list | tuple):  # which are in memory already
        whole = list(later)
        later = iter(random.Random(0).sample(whole, len(whole)))
    for batch in later:
        inputs, _ = unpack(batch, "quant_eval_data", subject.batch)
        yield on_cpu(inputs)
