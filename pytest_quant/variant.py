"""Variant: a model made from the Subject by a Recipe; FP32 is one too. Measured when asked."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pytest_quant.batches import call
from pytest_quant.conditions import engine_set, known_warnings_silenced
from pytest_quant.errors import QuantStageError
from pytest_quant.subject import Admitted, Subject

if TYPE_CHECKING:
    from pytest_quant.measure.evaluation import Evaluation
    from pytest_quant.measure.int8_share import Int8Share
    from pytest_quant.measure.prefix import Prefix
    from pytest_quant.measure.rounds import Pair
    from pytest_quant.measure.size import Size
    from pytest_quant.recipe import Recipe

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Measures:
    """How a variant is measured; handed in, so that this noun knows no room to its right."""

    evaluate: Callable[["Variant"], "Evaluation"]
    size: Callable[["Variant"], "Size"]
    int8_share: Callable[["Variant"], "Int8Share"]
    pair: Callable[["Variant", str], "Pair"]
    format_gain: Callable[["Variant"], float]
    prefix: Callable[["Variant"], "Prefix | None"]


class Variant:
    """One model of the comparison: what the fixtures `quant_fp32`, `quant_static`, ... give.

    Call it as the FP32 model is called: ``variant(images)``. Measurements are made when first
    asked for and kept, errors too.

    Attributes:
        name: ``fp32``, ``dynamic``, ``static``, ``qat`` or the recipe's name.
        recipe: with the flow and engine that were taken; None for FP32.
        model: the module or callable itself; FP32's is a copy of the user's model.
        fp32: the FP32 variant of the same Subject (of FP32: itself).
        fake_quantized: of QAT, the trained model before conversion; else None.
        seconds: of each stage of its making.
    """

    def __init__(
        self,
        name: str,
        admitted: Admitted,
        model: Any,
        measures: Measures,
        *,
        recipe: "Recipe | None" = None,
        fp32: "Variant | None" = None,
        fake_quantized: Any = None,
        tuned_on: frozenset[bytes] = frozenset(),
        seconds: Mapping[str, float] | None = None,
    ) -> None:
        self.name = name
        self.recipe = recipe
        self.model = model
        self.fp32 = fp32 or self
        self.fake_quantized = fake_quantized
        self.admitted = admitted
        self.tuned_on = tuned_on
        self.seconds = dict(seconds or {})
        self.notes: list[str] = [] if fp32 else list(admitted.notes)
        self._measures = measures
        self._known: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"<Variant {self.name} of {self.subject.label}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with self.running():
            return self.model(*args, **kwargs)

    @property
    def subject(self) -> Subject:
        """The FP32 model and its data."""
        return self.admitted.subject

    @property
    def is_fp32(self) -> bool:
        """Whether this is the baseline itself."""
        return self.fp32 is self

    @property
    def evaluation(self) -> "Evaluation":
        """Scores on the eval data: one pass, however many gates ask."""
        return self._once("evaluation", lambda: self._measures.evaluate(self))

    @property
    def prefix(self) -> "Prefix | None":
        """Scores on a part of the eval data, in a random order; None where it has no order."""
        return self._once("prefix", lambda: self._measures.prefix(self))

    @property
    def size(self) -> "Size":
        """Bytes of the tensors that the model needs to run."""
        return self._once("size", lambda: self._measures.size(self))

    @property
    def int8_share(self) -> "Int8Share":
        """How much of the model is stored in, and computes with, fewer bits than FP32."""
        return self._once("int8_share", lambda: self._measures.int8_share(self))

    def pair(self, baseline: str = "given") -> "Pair":
        """The timed pair of FP32 and this variant; gates on it share its rounds.

        Args:
            baseline: ``given``: FP32 as the user gave it; ``best``: the fastest FP32 of as given
                and channels_last.
        """
        return self._once(f"pair {baseline}", lambda: self._measures.pair(self, baseline))

    @property
    def format_gain(self) -> float:
        """How many times as fast FP32 is in channels_last as given; 1.0 without convolutions."""
        return self._once("format_gain", lambda: self._measures.format_gain(self.fp32))

    def measured(self, what: str) -> Any:
        """A measurement if it has been made, else None; never makes one, never raises."""
        known = self._known.get(what)
        return None if isinstance(known, Exception) else known

    @property
    def error(self) -> str | None:
        """Why a measurement failed, the first of them; None when none has."""
        errors = (known for known in self._known.values() if isinstance(known, QuantStageError))
        return next(map(str, errors), None)

    def forward(self, inputs: Any) -> Any:
        """Outputs for one batch of inputs, called as `quant_forward` says."""
        return call(self.model, inputs, self.subject.forward)

    @contextmanager
    def running(self) -> Iterator[None]:
        """In which this variant runs as it was built: its engine, inference mode, its attention.

        PyTorch's attention fast path reads FP32 weights and fails on a quantized layer, so it is
        off around such a variant, and only there: off for FP32 too, a variant that is slower than
        the FP32 model that ships would pass.
        """
        import torch

        with ExitStack() as stack:
            stack.enter_context(known_warnings_silenced())
            stack.enter_context(torch.inference_mode())
            if self.recipe is not None and self.recipe.engine is not None:
                stack.enter_context(engine_set(self.recipe.engine))
            if not self.is_fp32 and _has_attention(self.model):
                before = torch.backends.mha.get_fastpath_enabled()
                torch.backends.mha.set_fastpath_enabled(False)
                stack.callback(torch.backends.mha.set_fastpath_enabled, before)
            yield

    def _once(self, what: str, make: Callable[[], T]) -> T:
        if what not in self._known:
            try:
                self._known[what] = make()
            except QuantStageError as error:
                self._known[what] = error
        known = self._known[what]
        if isinstance(known, QuantStageError):
            raise known.again()
        made: T = known
        return made


def _has_attention(model: Any) -> bool:
    import torch

    kinds = (torch.nn.MultiheadAttention, torch.nn.TransformerEncoderLayer)
    return isinstance(model, torch.nn.Module) and any(isinstance(m, kinds) for m in model.modules())
