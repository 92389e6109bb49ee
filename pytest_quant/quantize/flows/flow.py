"""Flow: one PyTorch quantization API, from an FP32 module to a quantized one."""

from typing import Any, Protocol

from pytest_quant.errors import QuantStageError
from pytest_quant.quantize.flows.example import Example
from pytest_quant.quantize.layer_observers import LayerObservers
from pytest_quant.variant.facts import Facts
from pytest_quant.variant.recipe import Recipe


class Flow(Protocol):
    """What each flow's module offers. The engine is set, and the module is a copy of our own."""

    @property
    def NAME(self) -> str:
        """As in `Recipe.flow`."""

    @property
    def ENGINE(self) -> str | None:
        """The one engine it runs on; None where the recipe chooses."""

    @property
    def OBSERVES_ALL(self) -> bool:
        """Whether all that computes in int8 is observed, so that a rehearsal in float rounds alike."""

    def refusal(self, module: Any, recipe: Recipe) -> str | None:
        """Why this flow cannot even try, in half a sentence; None when it can."""

    def prepare(self, module: Any, recipe: Recipe, engine: str, example: Example) -> Any:
        """The module with observers (static) or fake-quantize modules (QAT), ready to run.

        Raises:
            QuantStageError: when the flow cannot take the module; names the user's line.
        """

    def convert(self, prepared: Any, example: Example) -> Any:
        """The quantized module, as it will run. The prepared one is used up."""

    def rehearsal(self, prepared: Any) -> Any:
        """A copy of a trained prepared module that computes as the converted one should."""

    def facts(self, recipe: Recipe) -> Facts:
        """What can be said of what it makes."""

    def observers(self, recipe: Recipe, engine: str) -> LayerObservers:
        """What it would let see each layer, if ranges were calibrated."""


class FlowRefusal(QuantStageError):
    """A flow cannot take the model; another one may.

    Args:
        stage: where it gave up.
        flow: its name.
        reason: half a sentence that goes on after the flow's name.
        remedy: sentences on what to do.
    """

    def __init__(self, stage: str, flow: str, reason: str, remedy: str = "") -> None:
        super().__init__(stage, f"flow {flow} {reason}.{' ' if remedy else ''}{remedy}")
        self.reason = f"{flow} {reason}"


def refuse(flow: str, reason: str | None) -> None:
    """Refuse a model that a flow cannot even try, if there is a reason."""
    if reason:
        raise FlowRefusal("prepare", flow, f"cannot take quant_model: {reason}")


def observers_of(prepared: Any) -> dict[str, Any]:
    """The activation observers, or fake-quantize modules, of a prepared module by name."""
    return {
        name: getattr(child, "activation_post_process", child)
        for name, child in prepared.named_modules()
        if "activation_post_process" in name
    }


def unobserved(prepared: Any) -> list[str]:
    """Names of the activation observers that no sample has passed."""
    import torch

    unseen = []
    for name, observer in observers_of(prepared).items():
        low, high = getattr(observer, "min_val", None), getattr(observer, "max_val", None)
        if not isinstance(low, torch.Tensor):
            continue
        if low.numel() == 0 or (isinstance(high, torch.Tensor) and bool((low > high).any())):
            unseen.append(name)
    return unseen
