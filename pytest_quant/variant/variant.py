"""Variant: a model made from the Subject by a Recipe; FP32 is one too. Measured when asked."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from pytest_quant.errors import QuantStageError, terminal_safe
from pytest_quant.machine.cell import Cell
from pytest_quant.machine.conditions import Conditions, isolated
from pytest_quant.machine.global_state import given_back
from pytest_quant.machine.turns import own_turn
from pytest_quant.subject.batches import call
from pytest_quant.subject.modes import Modes
from pytest_quant.subject.subject import Admitted, Subject
from pytest_quant.variant.evaluation import Evaluation
from pytest_quant.variant.facts import FP32, Facts
from pytest_quant.variant.measurements import Drawer, Int8Share, Measures, Prefix, Size
from pytest_quant.variant.recipe import Recipe
from pytest_quant.variant.rounds import Pair
from pytest_quant.variant.running import running_as_built

T = TypeVar("T")


class Variant:
    """One model of the comparison: what the fixtures `quant_fp32`, `quant_static`, ... give.

    Call it as the FP32 model is called: ``variant(images)``. Measurements are made when first
    asked for and kept, errors too.

    Attributes:
        name: ``fp32``, ``dynamic``, ``static``, ``qat`` or the recipe's name.
        recipe: with the flow and engine that were taken; None for FP32.
        ids: of the parameters that it came from; tells variants of one name apart in the report.
        model_ids: of an FP32 variant: of the parameters of its model's inputs.
        model: the module or callable itself; FP32's is a copy of the user's model.
        fp32: the FP32 variant of the same Subject (of FP32: itself).
        fake_quantized: of QAT, the trained model before conversion; else None.
        seconds: of each stage of its making, of evaluation, size and timing.
        grid: the pairs with FP32 as given, of cells that somebody has asked for.
        verdicts: of the gates that it was given to, in order, as plain data.
        failures: of an FP32 variant: kind and flow of the recipes that could not be built of it.
    """

    def __init__(
        self,
        name: str,
        admitted: Admitted,
        model: Any,
        measures: Measures,
        *,
        recipe: Recipe | None = None,
        ids: str = "",
        fp32: "Variant | None" = None,
        fake_quantized: Any = None,
        tuned_on: frozenset[bytes] = frozenset(),
        seconds: Mapping[str, float] | None = None,
        notes: Iterable[str] = (),
    ) -> None:
        self.name = name
        self.ids = ids
        self.model_ids = admitted.subject.ids
        self.recipe = recipe
        self.model = model
        self.fp32 = fp32 or self
        self.fake_quantized = fake_quantized
        self.admitted = admitted
        self.tuned_on = tuned_on
        self.seconds = dict(seconds or {})
        self.notes: list[str] = list(notes if fp32 else admitted.notes)
        self.failures: set[tuple[str, str]] = fp32.failures if fp32 else set()
        self.grid: dict[Cell, Pair] = {}
        self.verdicts: list[Mapping[str, Any]] = []
        self._measures = measures
        self._modes = [
            (each, Modes.of(each)) for each in (model, fake_quantized) if each is not None
        ]
        self._known: dict[str, Any] = {}

    def __repr__(self) -> str:
        return terminal_safe(f"<Variant {self.name} of {self.subject.label}>")

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
    def facts(self) -> Facts:
        """What its method says of it."""
        return FP32 if self.recipe is None else self.facts_of(self.recipe)

    def facts_of(self, recipe: Recipe) -> Facts:
        """What its method says of a variant after another recipe."""
        return self._measures.facts(recipe)

    @property
    def conditions(self) -> Conditions:
        """Under what it is measured: threads, seed, samples in one timed call."""
        return self._measures.conditions

    @property
    def evaluation(self) -> Evaluation:
        """Scores on the eval data, of one pass, however many gates ask."""
        return self.once("evaluation", lambda: self._measures.evaluate(self))

    @property
    def prefix(self) -> Prefix | None:
        """Scores on a part of the eval data, in a random order; None where it has no order."""
        return self.once("prefix", lambda: self._measures.prefix(self))

    @property
    def size(self) -> Size:
        """Bytes of the tensors that the model needs to run."""
        return self.once("size", lambda: self._measures.size(self), "size")

    @property
    def int8_share(self) -> Int8Share:
        """How much of the model is stored in, and computes with, fewer bits than FP32."""
        return self.once("int8_share", lambda: self._measures.int8_share(self), "size")

    def pair(self, baseline: str = "given", cell: Cell | None = None) -> Pair:
        """The timed pair of FP32 and this variant; gates on it share its rounds.

        Args:
            baseline: ``given``: FP32 as the user gave it; ``best``: the fastest FP32 of as given
                and channels_last; ``runtime``: of a file, FP32 in the runtime that runs it.
            cell: with how many threads and samples in one call; None for those of the conditions.
        """
        if cell is None:
            return self.once(f"pair {baseline}", lambda: self._measures.pair(self, baseline, None))
        found = self.once(
            f"pair {baseline} at {cell}", lambda: self._measures.pair(self, baseline, cell)
        )
        if baseline == "given":
            self.grid[cell] = found
        return found

    @property
    def format_gain(self) -> float:
        """How many times as fast FP32 is in channels_last as given; 1.0 without convolutions."""
        return self.format_gain_at(None)

    def format_gain_at(self, cell: Cell | None) -> float:
        """The same with the threads and samples of a cell."""
        name = "format_gain" if cell is None else f"format_gain at {cell}"
        return self.once(name, lambda: self._measures.format_gain(self.fp32, cell))

    def measured(self, what: str) -> Any:
        """A measurement if it has been made, else None; never makes one, never raises."""
        known = self._known.get(what)
        return None if isinstance(known, Exception) else known

    @property
    def error(self) -> str | None:
        """Why a measurement failed, the first of them; None when none has. What cannot be explained
        is measured all the same."""
        errors = (known for known in self._known.values() if isinstance(known, QuantStageError))
        return next((str(error) for error in errors if error.stage != "explain"), None)

    def forward(self, inputs: Any) -> Any:
        """Outputs for one batch of inputs, called as `quant_forward` says."""
        return call(self.model, inputs, self.subject.forward)

    def isolated(self, loaders: Iterable[Any] = ()) -> AbstractContextManager[None]:
        """In which all our work on it is done: as `isolated`, inside the settings of the door."""
        return isolated(self.conditions, loaders=loaders, state=self.admitted.door.state)

    @contextmanager
    def running(self) -> Iterator[None]:
        """In which this variant runs as it was built (see `running_as_built`), in the modes in which it
        was made, whatever a test has left it in."""
        with ExitStack() as stack:
            if not self.facts.is_known:
                stack.enter_context(given_back())
            stack.enter_context(self.held())
            stack.enter_context(running_as_built(self.model, self.recipe, self.facts))
            yield

    @contextmanager
    def held(self) -> Iterator[None]:
        """In which its models are in the modes in which they were made."""
        with ExitStack() as stack:
            for model, modes in self._modes:
                stack.enter_context(modes.held(model))
            yield

    def without_later_hooks(self, model: Any) -> Any:
        """A copy of this variant's model, rid of hooks that were set on the model since it was made."""
        return self._modes[0][1].without_later_hooks(model)

    def refuse_moved_fp32(self) -> None:
        """FP32 must be what it was when it was admitted; to be called inside the door's settings.

        Raises:
            QuantStageError: it is not; names who has had it in the meantime.
        """
        self.admitted.door.refuse_moved(self.fp32.model, self.subject.forward)

    def save(self, path: str | Path) -> Path:
        """Write the quantized weights and the recipe into one file; `load_variant` reads it.

        Args:
            path: of the file, by custom ``.pt``; replaced when it is there.

        Raises:
            QuantStageError: for FP32 and for a custom variant, whose build we do not have.
        """
        return self._measures.save(self, path)

    def export(self, path: str | Path) -> Path:
        """Write the file that production loads with its runtime alone, and a page of JSON beside it.

        The page has recipe, runtime, digests of the files, of FP32 and of the eval data, scores and
        verdicts. The file is loaded back in a process without this package, and must give the same bits
        on the first eval batch.

        Args:
            path: of the file, with the suffix of the variant's runtime, which of flow pt2e is ``.pt2``;
                replaced when it is there.

        Raises:
            QuantStageError: for a variant that nothing loads without this package, and where the bits
                differ.
        """
        return self._measures.export(self, path)

    def drawer(self, what: str) -> Drawer:
        """Where the cache keeps something that is found out of this variant as it is now."""
        return self._measures.kept(self, what)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """In which time is counted as this variant's in a stage: evaluate, size, time."""
        with own_turn():
            start = time.perf_counter()
            try:
                yield
            finally:
                spent = time.perf_counter() - start
                self.seconds[stage] = self.seconds.get(stage, 0.0) + spent

    def has_failed(self, kind: str, flow: str = "auto") -> bool:
        """Whether a variant of this kind, by this flow, is known not to be built of this model, so that
        nobody is sent there."""
        return (kind, "auto") in self.failures or (kind, flow) in self.failures

    def sibling(
        self,
        name: str,
        model: Any,
        recipe: Recipe | None = None,
        tuned_on: frozenset[bytes] | None = None,
    ) -> "Variant":
        """Another model of the same Subject, beside the same FP32, measured in the same way.

        Args:
            name: for progress and messages.
            model: takes the FP32 model's inputs.
            recipe: that it was made after; default this variant's.
            tuned_on: digests of the inputs that tuned it; default this variant's.
        """
        return Variant(
            name,
            self.admitted,
            model,
            self._measures,
            recipe=recipe or self.recipe,
            fp32=self.fp32,
            tuned_on=self.tuned_on if tuned_on is None else tuned_on,
        )

    def keep(self, what: str, value: Any) -> None:
        """Keep something that was made of this variant; `measured` gives it later."""
        self._known[what] = value

    def forget(self, what: str) -> None:
        """Forget what was kept, so that it is made anew when it is asked for."""
        self._known.pop(what, None)

    def once(self, what: str, make: Callable[[], T], stage: str | None = None) -> T:
        """Something that is made when it is first asked for and kept; `measured` gives it later.

        Raises:
            QuantStageError: the same one each time.
        """
        if what not in self._known:
            try:
                with self.timed(stage) if stage else nullcontext():
                    self._known[what] = make()
            except QuantStageError as error:
                self._known[what] = error
        known = self._known[what]
        if isinstance(known, QuantStageError):
            raise known.again()
        made: T = known
        return made
