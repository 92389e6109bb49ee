"""Merit: what of a file's speed-up its runtime gives, and what int8."""

from pytest_quant.errors import QuantStageError
from pytest_quant.runtimes.artefact import Artefact
from pytest_quant.variant.variant import Variant

ROUNDS, SECONDS = 13, 10.0  # to know by how much the runtime alone is faster
EXPORTED = (".onnx", ".xml")  # whose FP32 is made here


def tell_merit_of_runtime(variant: Variant, min_speedup: float) -> None:
    """Note where a file holds a limit against FP32 in PyTorch, and would not against FP32 in its runtime.

    Args:
        variant: that has passed.
        min_speedup: the limit.
    """
    model = variant.model
    if not isinstance(model, Artefact) or model.path.suffix not in EXPORTED:
        return
    try:
        pair = variant.pair("runtime")
        pair.add_rounds(ROUNDS, SECONDS)
    except QuantStageError as error:
        note = f"how fast FP32 is in {model.runtime} is not known: {error.sentence}"
    else:
        if pair.ratio >= min_speedup:
            return
        note = (
            f"it holds {min_speedup:g}x against FP32 in PyTorch, and is {pair.ratio:.2f}x as fast as FP32 "
            f"in {model.runtime}: the rest is the runtime's, not int8's; baseline='runtime' gates that"
        )
    if note not in variant.notes:
        variant.notes.append(note)
