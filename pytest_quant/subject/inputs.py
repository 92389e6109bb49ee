"""Inputs: all that a user may give, each once: its fixture, and which variants depend on it."""

from dataclasses import dataclass

SCOPE = "session"  # that every input should have: a narrower one makes variants anew


@dataclass(frozen=True, slots=True)
class Input:
    """One thing that a user gives.

    Args:
        fixture: that gives it.
        kinds: of recipes whose variants depend on it; None for every variant, FP32 included.
    """

    fixture: str
    kinds: tuple[str, ...] | None = None

    @property
    def field(self) -> str:
        """Of the Subject."""
        return self.fixture.removeprefix("quant_")

    def is_for(self, kind: str) -> bool:
        """Whether variants of a kind depend on it; ``fp32`` is the baseline's."""
        return self.kinds is None or kind in self.kinds


MODEL, CALIBRATION, TRAINING = "quant_model", "quant_calibration_data", "quant_train_data"
INPUTS = (
    Input(MODEL),
    Input("quant_eval_data"),
    Input(CALIBRATION, ("static",)),
    Input(TRAINING, ("static", "qat")),  # of static where there is no calibration data
    Input("quant_train", ("qat",)),
    Input("quant_loss", ("qat",)),
    Input("quant_qat_state", ("qat",)),
    Input("quant_metric"),
    Input("quant_batch"),
    Input("quant_forward"),
    Input("quant_latency_inputs"),
    Input("quant_slices"),
)
FIXTURES = {each.fixture: each for each in INPUTS}


def inputs_for(kind: str) -> tuple[Input, ...]:
    """Those that variants of a kind depend on."""
    return tuple(each for each in INPUTS if each.is_for(kind))
