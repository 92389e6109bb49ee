"""Row by row: do a model's outputs have a row for each sample, which is the same in any batch?"""

import copy
from contextlib import suppress
from typing import Any

import torch

from pytest_quant.quantize.flows.unrounded import CLOSE
from pytest_quant.subject.batches import taken, tensors_in
from pytest_quant.subject.modes import in_eval


def is_row_by_row(module: Any, values: dict[str, Any], batch: int) -> bool:
    """Whether a batch can be filled up with samples whose outputs are dropped.

    The sizes of one batch do not tell: outputs of another axis may happen to be as many, as steps of time
    that come first, and what attends across them changes with each that is added.

    Args:
        module: called by name; a copy of it runs.
        values: of one call.
        batch: samples in it.
    """
    try:
        own = copy.deepcopy(module)
        with in_eval(own), torch.no_grad():
            whole = list(tensors_in(own(**values)))
    except Exception:  # told where it is exported
        return False
    if not all(tensor.ndim and tensor.shape[0] == batch for tensor in whole):
        return False
    for count in (batch // 2, 2 * batch):  # which says less, since samples are repeated
        if count:
            with suppress(Exception), in_eval(own), torch.no_grad():
                part = list(tensors_in(own(**taken(values, count))))
                return _is_the_same(whole, part, min(count, batch), count)
    return True  # it takes no other batch, so that the sizes are all that is known


def _is_the_same(whole: list[Any], part: list[Any], rows: int, count: int) -> bool:
    if not all(tensor.ndim and tensor.shape[0] == count for tensor in part):
        return False
    pairs = zip(whole, part, strict=True)
    return all(_is_close(one[:rows], other[:rows]) for one, other in pairs)


def _is_close(one: Any, other: Any) -> bool:
    """Whether numbers are alike where they are finite, and others are the same."""
    if one.shape != other.shape:
        return False
    if not (one.is_floating_point() or one.is_complex()):
        return bool(torch.equal(one, other))
    known = one.isfinite()
    if not torch.equal(known, other.isfinite()):
        return False
    one, other = one[known], other[known]
    if not one.numel():
        return True
    return float((one - other).abs().max()) <= CLOSE * float(one.abs().max()) + 1e-6
