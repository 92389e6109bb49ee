"""Build a variant's model after its recipe, by the method of its kind and flow."""

from collections.abc import Callable

from pytest_quant.machine.conditions import Conditions, isolated
from pytest_quant.quantize.built import Built
from pytest_quant.quantize.methods.observing import Observing
from pytest_quant.quantize.methods.registry import method_of
from pytest_quant.subject.subject import Admitted, Subject
from pytest_quant.variant.recipe import Recipe


def build(
    admitted: Admitted,
    recipe: Recipe,
    conditions: Conditions,
    look: Callable[[Built], None] | None = None,
) -> Built:
    """The variant's model. The FP32 model, the random state and PyTorch's settings stay as they were.

    Args:
        look: is given what is to be compiled, which computes without that while it looks; it raises to
            have no more of it.

    Raises:
        QuantStageError: names the stage that failed, why, and a remedy.
    """
    subject, door = admitted.subject, admitted.door
    loaders = (subject.calibration_data, subject.train_data, subject.eval_data)
    with (
        isolated(conditions, loaders=loaders, state=door.state),
        door.modes.held(admitted.module),
    ):
        door.refuse_moved(admitted.module, subject.forward)
        theirs = _code_of_users(recipe, subject)
        if theirs:
            door.handed_to(theirs)
        method = method_of(recipe)
        if look is not None and isinstance(method, Observing):
            built = method.make(admitted, recipe, conditions, look)
        else:
            built = method.make(admitted, recipe, conditions)
        if theirs:
            door.refuse_moved(admitted.module, subject.forward)
        return built


def _code_of_users(recipe: Recipe, subject: Subject) -> list[str]:
    """What code of the user's takes part in making a variant, by name."""
    if recipe.build is not None:
        return [recipe.label]
    given = {"quant_train": subject.train, "quant_loss": subject.loss}
    return [name for name, code in given.items() if recipe.kind == "qat" and code is not None]
