"""What went wrong before anything could be judged, in one sentence."""

from pytest_quant.terminal_safe import terminal_safe


class QuantStageError(RuntimeError):
    """A stage could not be carried out; the model was not judged. An ERROR, never a FAILURE.

    Args:
        stage: one of ``fixture``, ``prepare``, ``calibrate``, ``train``, ``convert``,
            ``compile``, ``evaluate``, ``time``, ``size``, ``judge``, ``baseline``.
        sentence: what was given, what was expected, what to do.
    """

    def __init__(self, stage: str, sentence: str) -> None:
        sentence = terminal_safe(sentence)
        super().__init__(stage, sentence)
        self.stage = stage
        self.sentence = sentence

    def __str__(self) -> str:
        return f"{self.stage} ERROR: {self.sentence}"

    def again(self) -> "QuantStageError":
        """The same error to raise once more: a re-raised object would collect tracebacks."""
        error = QuantStageError(self.stage, self.sentence)
        error.__cause__ = self.__cause__
        error.__suppress_context__ = True
        return error


def in_brief(error: BaseException, lines: int = 1) -> str:
    """Type and first lines of an error from somebody else's code, at most 300 characters."""
    said = " ".join(line.strip() for line in str(error).strip().splitlines()[:lines])
    text = f"{type(error).__name__}: {said}" if said else type(error).__name__
    return terminal_safe(text if len(text) <= 300 else text[:297] + "...")
