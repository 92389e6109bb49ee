"""Search: for a recipe that holds a limit, first among settings, then among layers to keep in FP32."""

import math
import time
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_quant.errors import QuantStageError
from pytest_quant.explain.lost.locate import explain
from pytest_quant.explain.lost.sentences import is_another_model, is_operation
from pytest_quant.explain.other_flows import other_flows
from pytest_quant.explain.remedies.as_python import as_python
from pytest_quant.explain.remedies.candidates import cheap_candidates
from pytest_quant.explain.remedies.drop_limit import DropLimit
from pytest_quant.explain.remedies.hard_samples import HardSamples, hard_samples_of
from pytest_quant.explain.remedies.limit import Limit, Trial
from pytest_quant.explain.remedies.proposal import ROUND_SECONDS, ROUNDS, Proposal, proposed
from pytest_quant.explain.remedies.remedy import Remedy
from pytest_quant.explain.remedies.sets import passing_sets
from pytest_quant.explain.remedies.workbench import Workbench, workbench_of, workbenches_of
from pytest_quant.variant.recipe import Recipe
from pytest_quant.variant.variant import Variant

TRIED = 3  # cheap candidates that are evaluated: those with the least noise
MOST_KEPT = 0.5  # of the layers; a model that is half FP32 is no mended one
MORE = (1, 3)  # layers on top, where what holds in float arithmetic does not in int8
CLEARLY = 0.5  # of the noise: half a bit less is worth another recipe
SLOWER = 0.9  # of the speed that may be lost to another engine


class _Expired(Exception):
    """The time is up."""


@dataclass(slots=True, eq=False)
class Search:
    """One search, with what it has cost so far.

    Args:
        variant: to be mended.
        recipe: its own; later the one under which layers are looked for.
        limit: that is to hold.
        weight: the field of `Layer` that is to be saved.
        deadline: by `time.perf_counter`.
    """

    variant: Variant
    recipe: Recipe
    limit: Limit
    weight: str
    deadline: float
    started: float = field(default_factory=time.perf_counter)
    evaluations: int = 0
    builds: int = 0
    trials: list[str] = field(default_factory=list)
    nearest: float | None = None
    hint: str = ""
    bench: Workbench | None = None
    screen: HardSamples | None = None

    def remedy(self, cheap: bool) -> Remedy:
        """What the search comes to."""
        own = self._judged(self.variant, "as it is")
        if own.passed:
            return self._made(None, [f"{self.variant.name} holds the limit as it is."])
        if not self.variant.facts.chooses_layers:
            kind = self.recipe.kind
            return self._made(
                None,
                [f"A {kind} variant is not ours to mend: its layers are not chosen by a Recipe."],
            )
        try:
            if isinstance(self.limit, DropLimit):
                self.screen = hard_samples_of(self.variant, self.limit)
            proposal = None
            explanation = explain(self.variant)
            if is_another_model(explanation) or is_operation(explanation):
                self.hint = "It is not the rounding of layers that costs: other flows were tried. "
                proposal = self._by_flows()
            elif cheap:
                proposal = self._by_settings()
            if proposal is None:
                proposal = self._by_layers()
            if proposal is None and self.variant.recipe not in (None, self.recipe):
                self.recipe, self.bench = self.variant.recipe, None  # what seemed better was not
                proposal = self._by_layers()
        except _Expired:
            return self._made(
                None, [f"Nothing found {self._spent()}, when the time was up; {self._next()}"]
            )
        except QuantStageError as error:
            return self._made(None, [f"The search could not go on: {error}"])
        if proposal is None:
            return self._made(None, [f"{self.hint}None found {self._spent()}; {self._next()}"])
        return self._made(proposal, [])

    # where it is not rounding

    def _by_flows(self) -> Proposal | None:
        """The first other flow whose variant holds the limit."""
        for recipe in other_flows(self.variant, self.recipe):
            self._check_time()
            try:
                proposal = self._built(recipe, ())
            except QuantStageError as error:
                self.variant.failures.add((recipe.kind, recipe.flow))
                self.trials.append(f"flow {recipe.flow}: {error}")
                continue
            if proposal is not None:
                return proposal
        return None

    # remedies that keep no layer in FP32

    def _by_settings(self) -> Proposal | None:
        explanation = explain(self.variant)
        weights, activations = explanation.sqnr["weights"], explanation.sqnr["activations"]
        weights_first = weights is not None and activations is not None and weights < activations
        own = self._own_bench()
        usual = own.noise() if own else 0.0
        self._check_time()
        candidates = cheap_candidates(self.recipe, weights_first=weights_first)
        benches = []
        for recipe, bench in workbenches_of(self.variant, candidates):
            self._check_time()
            if (noise := bench.noise()) < usual:
                benches.append((noise, recipe, bench))
        benches.sort(key=lambda item: item[0])
        for noise, recipe, bench in benches[:TRIED]:
            self._check_time()
            changed = _changed(self.variant.recipe, recipe)
            trial = self._tried(bench, (), changed)
            if trial.passed:
                proposal = self._built_if_possible(recipe, ())
                if proposal is not None and self._is_as_fast(proposal, changed):
                    return proposal
            if noise < CLEARLY * usual and recipe.engine == self.recipe.engine:
                # layers are then looked for under this one
                self.recipe, self.bench, usual = recipe, bench, noise
        return None

    def _is_as_fast(self, proposal: Proposal, changed: str) -> bool:
        """Another engine may hold the limit at a fraction of the speed."""
        if proposal.recipe.engine == self.recipe.engine:
            return True
        pairs = proposal.variant.pair(), self.variant.pair()
        for pair in pairs:
            pair.add_rounds(ROUNDS, ROUND_SECONDS)
        if pairs[0].ratio >= SLOWER * pairs[1].ratio:
            return True
        self.trials.append(
            f"{changed} is left out: {pairs[0].ratio:.2g}x as fast as FP32, {self.variant.name} is "
            f"{pairs[1].ratio:.2g}x"
        )
        return False

    # layers to keep in FP32

    def _by_layers(self) -> Proposal | None:
        bench = self.bench or self._own_bench()
        if bench is None:
            return None
        order, costs = bench.order(), {x.name: float(getattr(x, self.weight)) for x in bench.layers}
        most = max(3, int(MOST_KEPT * len(bench.layers)))

        def passes(kept: tuple[str, ...]) -> bool:
            self._check_time()
            named = f"{len(kept)} layers in FP32" if len(kept) > 1 else f"{kept[0]} in FP32"
            return self._tried(bench, kept, named).passed

        if self.variant.facts.trains and not passes(tuple(order)):
            self.hint = (
                "It is not the rounding that costs: with every layer in float, the weights that QAT has "
                "trained do not hold the limit. "
            )
            return None
        held: list[tuple[str, ...]] = []

        def holds(kept: tuple[str, ...]) -> bool:
            if passes(kept):
                held.append(kept)
                return True
            return False

        try:
            passing_sets(order, holds, costs=costs, most=most)
        except _Expired:
            if not held:
                raise
        for kept in _to_build(held, order):
            if (proposal := self._built_if_possible(self.recipe, kept)) is not None:
                return proposal
        return None

    # what both need

    def _own_bench(self) -> Workbench | None:
        try:
            return workbench_of(self.variant)
        except QuantStageError:
            return None

    def _tried(self, bench: Workbench, kept: tuple[str, ...], what: str) -> Trial:
        trial = bench.trial(kept, self.limit, self.screen)
        self._note(what, trial)
        return trial

    def _judged(self, variant: Variant, what: str) -> Trial:
        if isinstance(self.limit, DropLimit):
            for each in (variant.fp32, variant):
                _ = each.evaluation  # of all samples, so that the trial does not stop early
        trial = self.limit.trial(variant)
        self._note(what, trial)
        return trial

    def _note(self, what: str, trial: Trial) -> None:
        self.evaluations += 1
        before = trial.value if self.nearest is None else self.nearest
        self.nearest = self.limit.nearest(before, trial.value)
        shown = self.limit.shown(trial.value)
        seen = f" on {trial.samples:,} samples" if trial.samples else ""
        self.trials.append(f"{what}: {shown}{seen}, {'holds' if trial.passed else 'does not hold'}")

    def _built_if_possible(self, recipe: Recipe, kept: tuple[str, ...]) -> Proposal | None:
        """As `_built`; one candidate that cannot be built says nothing of the others."""
        try:
            return self._built(recipe, kept)
        except QuantStageError as error:
            self.trials.append(f"{as_python(recipe)} could not be built: {error}")
            return None

    def _built(self, recipe: Recipe, kept: tuple[str, ...]) -> Proposal | None:
        """The candidate as its recipe says, if it holds the limit in earnest."""
        chosen = replace(recipe, keep_fp32=(*recipe.keep_fp32, *kept))
        self.builds += 1
        made = proposed(self.variant, chosen, kept)
        trial = self._judged(made.variant, "built")
        holds = trial.passed and made.is_quantized
        return replace(made, value=trial.value) if holds else None

    def _made(self, proposal: Proposal | None, sentences: list[str]) -> Remedy:
        variant, limit = self.variant, self.limit
        measured = proposal.measured(limit) if proposal else {}
        return Remedy(
            variant.name,
            variant.subject.label,
            variant.subject.where,
            limit.most,
            _finite(proposal.value if proposal else self.nearest),
            proposal.recipe.to_dict() if proposal else None,
            kept=proposal.kept if proposal else (),
            line=str(measured.get("line", "")),
            size_ratio=measured.get("size_ratio"),
            speedup=measured.get("speedup"),
            evaluations=self.evaluations,
            builds=self.builds,
            seconds=time.perf_counter() - self.started,
            trials=tuple(self.trials),
            sentences=tuple(sentences),
            paste=str(measured.get("paste", "")),
            gate=limit.gate,
        )

    def _check_time(self) -> None:
        if time.perf_counter() > self.deadline:
            raise _Expired

    def _spent(self) -> str:
        return f"in {self.evaluations} evaluations"

    def _next(self) -> str:
        """The sentence's end."""
        if self.limit.gate == "min_sqnr":  # training moves the outputs away from FP32's
            return "a lower limit, or another flow or engine, is what is left."
        kinds = {"static": "static quantization", "qat": "QAT"}
        after = {"dynamic": ("static", "qat"), "static": ("qat",)}.get(self.recipe.kind, ())
        left = [kinds[kind] for kind in after if not self.variant.has_failed(kind)]
        if left:
            fixture = " (quant_qat)" if after == ("qat",) else ""
            return f"{' or '.join(left)} is the next step{fixture}."
        if self.recipe.kind == "qat":
            own = self.variant.subject.train is not None
            where = "in quant_train" if own else "epochs and lr of its Recipe"
            return f"train longer or at another rate ({where})."
        return "another kind of quantization is the next step."


def _finite(value: float | None) -> float | None:
    """For JSON."""
    return value if value is not None and math.isfinite(value) else None


def _to_build(found: list[tuple[str, ...]], order: list[str]) -> list[tuple[str, ...]]:
    """The smallest set that holds in float arithmetic, then larger ones, in case that one was luck."""
    if not found:
        return []
    prefixes = [kept for kept in found if kept == tuple(order[: len(kept)])]
    first = min(prefixes, key=len)
    larger = [tuple(order[: len(first) + more]) for more in MORE]
    return list(dict.fromkeys([found[-1], first, *larger]))


def _changed(old: Recipe | None, new: Recipe) -> str:
    before: dict[str, Any] = old.to_dict() if old else {}
    after = new.to_dict().items()
    return ", ".join(f"{n}={value!r}" for n, value in after if value != before.get(n))
