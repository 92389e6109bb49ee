"""Build a variant's model after its recipe, by the method of its kind and flow."""

from pytest_quant.machine.conditions import Conditions, isolated
from pytest_quant.quantize.built import Built
from pytest_quant.quantize.methods.registry import method_of
from pytest_quant.subject.subject import Admitted
from pytest_quant.variant.recipe import Recipe


def build(admitted: Admitted, recipe: Recipe, conditions: Conditions) -> Built:
    """The variant's model. The FP32 model, the random state and PyTorch's settings stay as they were.

    Raises:
        QuantStageError: names the stage that failed, why, and a remedy.
    """
    subject = admitted.subject
    loaders = (subject.calibration_data, subject.train_data, subject.eval_data)
    with isolated(conditions, loaders=loaders):
        return method_of(recipe).make(admitted, recipe, conditions)
