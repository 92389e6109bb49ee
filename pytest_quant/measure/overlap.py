"""Overlap: was a variant tuned on the samples that now judge it?"""

from collections.abc import Set
from typing import Any

from pytest_quant.errors import QuantStageError
from pytest_quant.quantize.watch import call_digests
from pytest_quant.subject.batches import each_batch, on_cpu, unpack
from pytest_quant.variant.variant import Variant

OVERLAP = 0.01  # share of the tuning samples, or of the eval data, that may be shared by chance
FEWEST = 2  # samples of the eval data; a single one may be a duplicate


def is_watched(variant: Variant) -> bool:
    """Whether it was tuned by code of the user's, of which only the inputs that it gave to modules are
    known."""
    own_loop = variant.facts.trains and variant.subject.train is not None
    return variant.recipe is not None and (variant.recipe.build is not None or own_loop)


def refuse_overlap(variant: Variant, inputs: Set[bytes]) -> None:
    """A model tuned on samples that it is now judged on is judged too kindly.

    Args:
        inputs: digests of the inputs of the eval data.

    Raises:
        QuantStageError: when 1 % or more of the tuning samples, or of the eval data, are among both.
    """
    if not variant.tuned_on:
        return
    if is_called_otherwise(variant):
        inputs = _as_called(variant)
    refuse_shared(variant, len(variant.tuned_on & inputs), len(inputs))


def refuse_shared(variant: Variant, shared: int, samples: int) -> None:
    """The same for so many shared samples of so many of the eval data.

    Raises:
        QuantStageError: as `refuse_overlap`.
    """
    tuned = len(variant.tuned_on)
    of_tuned = shared and shared >= OVERLAP * tuned
    of_eval = shared >= FEWEST and shared >= OVERLAP * samples
    if not (of_tuned or of_eval):
        return
    stage, doing, source = _how(variant)
    raise QuantStageError(
        stage,
        f"{variant.name} was {doing} on eval data: {shared:,} of {tuned:,} samples {source} are in "
        f"quant_eval_data, so its accuracy would be measured on what it was tuned on. Use samples of the "
        "training data.",
    )


def is_called_otherwise(variant: Variant) -> bool:
    """Whether inputs are compared as `quant_forward` gives them to the model, since code of the user's
    does so itself."""
    return is_watched(variant) and variant.subject.forward is not None


def _how(variant: Variant) -> tuple[str, str, str]:
    """The stage, what was done in it, and where the samples came from."""
    if variant.recipe is not None and variant.recipe.build is not None:
        return "convert", "tuned", "that its build gave to modules"
    if not variant.facts.trains:
        return "calibrate", "calibrated", "of quant_calibration_data (or quant_train_data)"
    if is_watched(variant):
        return "train", "trained", "that quant_train gave the model"
    return "train", "trained", "of quant_train_data"


class _Called(BaseException):
    """Ends a call once its arguments are known; no error, so that nobody catches it as one."""


def _as_called(variant: Variant) -> Set[bytes]:
    """Digests of the eval data as it reaches the model through `quant_forward`; the model does not run."""
    subject, model, found = variant.subject, variant.fp32.model, set[bytes]()

    def look(module: Any, args: Any, kwargs: Any) -> None:
        found.update(call_digests(module, args, kwargs, None))
        raise _Called

    hook = model.register_forward_pre_hook(look, with_kwargs=True, prepend=True)
    try:
        with variant.isolated((subject.eval_data,)), variant.fp32.running():
            for batch in each_batch(subject.eval_data, "quant_eval_data", subject.batch):
                inputs, _ = unpack(batch, "quant_eval_data", subject.batch)
                try:
                    subject.forward(model, on_cpu(inputs))
                except _Called:
                    continue
    finally:
        hook.remove()
    return found
