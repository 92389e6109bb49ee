"""Row by row: do a model's outputs have a row for each sample, which is the same in any batch?"""

import copy
from typing import Any

import torch

from pytest_quant.quantize.flows.unrounded import are_alike
from pytest_quant.subject.batches import taken, tensors_in
from pytest_quant.subject.modes import in_eval

HALVED = 4  # samples, from which on half of them are run; of fewer twice as many


def is_row_by_row(module: Any, values: dict[str, Any], batch: int) -> bool:
    """Whether a batch can be filled up with samples whose outputs are dropped.

    The sizes of one batch do not tell: outputs of another axis may happen to be as many, as steps of time
    that come first, and what attends across them changes with each that is added.

    Args:
        module: called by name; a copy of it runs.
        values: of one call.
        batch: samples in it.
    """
    count = batch // 2 if batch >= HALVED else 2 * batch
    try:
        own = copy.deepcopy(module)
        with in_eval(own), torch.no_grad():
            whole = list(tensors_in(own(**values)))
    except Exception:  # told where it is exported
        return False
    if not all(tensor.ndim and tensor.shape[0] == batch for tensor in whole):
        return False
    try:
        with in_eval(own), torch.no_grad():
            part = list(tensors_in(own(**taken(values, count))))
    except Exception:  # no batch but of this size, of which the sizes are all that is known
        return True
    same = min(count, batch)
    return all(tensor.ndim and tensor.shape[0] == count for tensor in part) and are_alike(
        [tensor[:same] for tensor in whole], [tensor[:same] for tensor in part]
    )
