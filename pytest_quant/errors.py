"""What went wrong before anything could be judged, in one sentence that steers no terminal."""

import re
from collections.abc import Iterable
from opcode import opmap
from pathlib import Path
from typing import Any

# Control characters but for tab and newline; halves of a pair, which no file can hold; and what turns the
# order of the letters that follow around, so that a text reads as what it is not.
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")


PACKAGE = str(Path(__file__).parent)
ELSEWHERE = " See the torch.fx docs on pytorch.org"  # where PyTorch's errors leave the matter
RAISING = opmap["RAISE_VARARGS"]


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
        error = self._same()
        error.__cause__ = self.__cause__
        error.__suppress_context__ = True
        return error

    def _same(self) -> "QuantStageError":
        return QuantStageError(self.stage, self.sentence)


class NothingToQuantizeError(QuantStageError):
    """A model has nothing that a kind of quantization covers; another kind may."""

    def _same(self) -> "QuantStageError":
        return NothingToQuantizeError(self.stage, self.sentence)


class UnwantedError(QuantStageError):
    """What was looked at before it was compiled is to be no further made: no fault of the flow's."""

    @property
    def reason(self) -> str:
        """Half a sentence that goes on after the flow's name."""
        return self.sentence

    def _same(self) -> "QuantStageError":
        return UnwantedError(self.stage, self.sentence)


def in_brief(error: BaseException, lines: int = 1) -> str:
    """Type and first lines of an error from somebody else's code, at most 300 characters."""
    said = " ".join(line.strip() for line in str(error).strip().splitlines()[:lines])
    said = said.partition(ELSEWHERE)[0]
    text = f"{type(error).__name__}: {said}" if said else type(error).__name__
    return terminal_safe(text if len(text) <= 300 else text[:297] + "...")


def listed(names: Iterable[object], most: int, *, counted: bool = False) -> str:
    """Names for a sentence, the first ones alone: ``a, b, ...``; or ``a, b and 3 more`` where counted."""
    every = [str(name) for name in names]
    rest = len(every) - most
    more = "" if rest <= 0 else f" and {rest} more" if counted else ", ..."
    return f"{', '.join(every[:most])}{more}"


def brief(error: Exception) -> str:
    """The sentence of an error of ours, or another one's in brief."""
    return error.sentence if isinstance(error, QuantStageError) else in_brief(error)


def is_sentence(error: BaseException) -> bool:
    """Whether an error was raised on purpose by this package, so that what it says is all there is to know:
    a stage that could not be carried out, a gate that FAILed, a wrong argument. What else goes wrong in
    here is a fault of ours, and its traceback is needed.

    On purpose is what comes from a ``raise`` of ours. An ``assert`` raises too; ours have no text.
    """
    if isinstance(error, QuantStageError):
        return True
    if not isinstance(error, Exception) or not str(error):
        return False
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None or not last.tb_frame.f_code.co_filename.startswith(PACKAGE):
        return False
    return last.tb_frame.f_code.co_code[last.tb_lasti] == RAISING


def hidden(raised: Any) -> bool:
    """A value of ``__tracebackhide__``, by which pytest leaves a function's lines out of a failure: those
    of errors raised on purpose.

    Args:
        raised: pytest's ExceptionInfo, or None.
    """
    return raised is None or is_sentence(raised.value)


def terminal_safe(text: str) -> str:
    """The same lines, with a mark in place of each character that steers a terminal.

    Each sentence is made safe where it is made (a Verdict, a QuantStageError, a refusal) and each line
    where it is written, so that a name keeps its characters wherever it is only a name.
    """
    return text if text.isascii() and text.isprintable() else STEERING.sub("\ufffd", text)
