"""Cache: builds and evaluations that an earlier run made, or another worker of this one."""

import json
import os
import secrets
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pytest_quant.errors import QuantStageError, brief
from pytest_quant.machine.cell import Cell
from pytest_quant.machine.conditions import Conditions, isolated
from pytest_quant.machine.opened import Opened, are_unchanged, opened
from pytest_quant.machine.sources import ChangedSource
from pytest_quant.quantize.built import Built
from pytest_quant.quantize.methods.registry import facts_of
from pytest_quant.runtimes.artefact import Artefact
from pytest_quant.store.cache.entries import Entries, Key
from pytest_quant.store.cache.kept_builds import build_as_entry, build_of_entry
from pytest_quant.store.cache.kept_evaluations import evaluation_as_entry, evaluation_of_entry
from pytest_quant.store.cache.keys import Keys
from pytest_quant.store.cache.not_kept import NotKept
from pytest_quant.subject.subject import Admitted
from pytest_quant.variant.evaluation import Evaluation
from pytest_quant.variant.kept import BUILD, EVALUATION, Kept
from pytest_quant.variant.measurements import MB, NO_DRAWER, Drawer
from pytest_quant.variant.recipe import Recipe
from pytest_quant.variant.shared_rounds import SharedRounds
from pytest_quant.variant.tensors import bytes_of, state_of, tensors_of
from pytest_quant.variant.variant import Variant

Build = Callable[[Admitted, Recipe, Conditions], Built]


class Cache:
    """What is kept between runs, and shared by the workers of one.

    An entry is found by a digest of all that it depends on, so that nothing has to be thrown away when
    something changes. Timings and verdicts are never kept: rounds are the workers' of one run.

    Args:
        folder: of the entries.
        conditions: under which all is built and evaluated.
        run: tells one run from another one; its workers share it.
        apart: gives the files of tests, whose limits change nothing that is kept.
        shares_rounds: whether other workers of the run may time the same.
    """

    def __init__(
        self,
        folder: Path,
        conditions: Conditions,
        run: str | None = None,
        apart: Callable[[], Collection[str]] = frozenset,
        shares_rounds: bool = False,
    ) -> None:
        self.entries = Entries(folder, conditions.tell)
        self._keys = Keys(conditions, apart)
        self._run = run or secrets.token_hex(8)
        self._shares_rounds = shares_rounds
        self._conditions = conditions
        self._root = os.path.abspath(conditions.root)

    def admit(self, fp32: Variant, files: Opened | None = None) -> None:
        """Take down what an FP32 model is, before a test has it in hand, and which files were read to
        admit it."""
        with fp32.isolated():
            self._keys.admit(fp32.admitted, files)

    def end_run(self) -> None:
        """Remove what only the workers of this run needed of each other."""
        self.entries.remove_locks(self._run)

    def release(self, identity: Hashable) -> None:
        """Forget what was read of an input, which is there no longer."""
        self._keys.release(identity)

    def build(self, make: Build, admitted: Admitted, recipe: Recipe) -> Built:
        """What a recipe makes of a model: taken from the cache, else made and kept."""
        try:
            with isolated(self._conditions, state=admitted.door.state):
                key = self._keys.build(admitted, recipe)
        except NotKept as error:
            return replace(
                make(admitted, recipe, self._conditions), kept=Kept(why_not=f"build: {error}")
            )
        with self.entries.locked(key):
            if (found := self._old_build(key, admitted, recipe)) is not None:
                return found
            with opened() as files:
                built = make(admitted, recipe, self._conditions)
            kept = Kept(str(key))
            if not self.entries.has_room_for(size := _bytes_of(built)):
                kept = Kept(str(key), why_not=f"build: it has {size / MB:,.0f} MB")
            elif facts_of(built.recipe).is_known:
                try:
                    with isolated(self._conditions, state=admitted.door.state):
                        entry = build_as_entry(built, admitted)
                    self._put(key, entry, files)
                except (QuantStageError, ChangedSource) as error:
                    said = error.sentence if isinstance(error, QuantStageError) else error
                    kept = Kept(str(key), why_not=f"build: {said}")
            return replace(built, kept=kept)

    @contextmanager
    def choice(self, admitted: Admitted, recipe: Recipe) -> Iterator[Drawer]:
        """Where it is kept which flow and engine were found for a recipe; one process looks for them."""
        try:
            with isolated(self._conditions, state=admitted.door.state):
                key = Key("choice", self._keys.build(admitted, recipe).digest)
        except (NotKept, QuantStageError):
            yield NO_DRAWER
            return
        with self.entries.locked(key):
            yield self._drawer(key)

    def evaluate(self, measure: Callable[[Variant], Evaluation], variant: Variant) -> Evaluation:
        """A variant's scores on the eval data: taken from the cache, else measured and kept."""
        try:
            return (
                self._of_fp32(measure, variant)
                if variant.is_fp32
                else self._of_variant(measure, variant)
            )
        except NotKept as error:
            variant.keep(EVALUATION, Kept(why_not=f"evaluation: {error}"))
            return measure(variant)

    def rounds(
        self, variant: Variant, baseline: str, cell: Cell | None, inputs: Any
    ) -> SharedRounds | None:
        """Where the workers of this run share rounds; None where nothing says that they time the same."""
        built = variant.measured(BUILD)
        key = None if built is None else built.key
        if not self._shares_rounds or (key is None and not variant.is_fp32):
            return None
        try:
            found = self._keys.pair(variant, key, baseline, cell, inputs)
        except (NotKept, QuantStageError):
            return None
        return SharedRounds(self.entries.locks / f"rounds-{self._run}-{found.digest}.json")

    def drawer(self, variant: Variant, what: str) -> Drawer:
        """Where something is kept that was found out of a variant, beside its evaluation; of FP32, out of
        the model alone."""
        try:
            if variant.is_fp32:
                return self._drawer(Key(what, self._keys.fp32(variant).digest))
            built = variant.measured(BUILD)
            if built is None or built.key is None:
                return NO_DRAWER
            known = variant.measured("evaluation") is not None
            data = variant.fp32.evaluation.passed if known else b""
            key = self._evaluation_key(variant, f"{built.key} {what} {known}", data)
        except (NotKept, QuantStageError):
            return NO_DRAWER
        return self._drawer(Key(what, key.digest))

    def _drawer(self, key: Key) -> Drawer:
        def write(content: Mapping[str, Any]) -> None:
            if self.entries.has_room_for(bytes_of(tensors_of(content))):
                self._put(key, content)

        return Drawer(lambda: self.entries.get(key), write)

    def _of_fp32(self, measure: Callable[[Variant], Evaluation], fp32: Variant) -> Evaluation:
        """FP32's own: the eval data is read for a digest only where one may be found by it."""
        mark, scored = self._keys.fp32(fp32), self._keys.scored(fp32)
        with self.entries.locked(mark):
            if self.entries.has(mark):
                key = self._evaluation_key(fp32, None, self._keys.eval_data(fp32), scored)
                if (found := self._old_evaluation(key, fp32)) is not None:
                    return found
            before = len(fp32.notes)
            with opened() as files:
                evaluation = measure(fp32)
            try:
                key = self._evaluation_key(fp32, None, evaluation.passed, scored)
            except NotKept as error:  # now that it is measured
                fp32.keep(EVALUATION, Kept(why_not=f"evaluation: {error}"))
                return evaluation
            self._keep_evaluation(key, fp32, evaluation, before, files)
            self._put(mark, {})
        return evaluation

    def _of_variant(self, measure: Callable[[Variant], Evaluation], variant: Variant) -> Evaluation:
        built = variant.measured(BUILD)
        if built is None or built.key is None:
            raise NotKept("the build is not kept")
        data = variant.fp32.evaluation.passed
        key = self._evaluation_key(variant, built.key, data)
        with self.entries.locked(key):
            if (found := self._old_evaluation(key, variant)) is not None:
                return found
            before = len(variant.notes)
            with opened() as files:
                evaluation = measure(variant)
            self._keep_evaluation(key, variant, evaluation, before, files)
        return evaluation

    def _evaluation_key(
        self, variant: Variant, build: str | None, data: bytes, scored: bytes | None = None
    ) -> Key:
        with variant.isolated():
            variant.refuse_moved_fp32()
            return self._keys.evaluation(variant, build, data, scored)

    def _old_build(self, key: Key, admitted: Admitted, recipe: Recipe) -> Built | None:
        content = self._get(key)
        if content is None:
            return None
        try:
            with isolated(self._conditions, state=admitted.door.state):
                built = build_of_entry(content, Path(str(key)), recipe, admitted, self._conditions)
        except Exception as error:  # as for what is damaged: it is made anew
            self._conditions.tell(f"cache: {brief(error)}; it is made anew")
            return None
        return replace(built, kept=self._kept(key, content))

    def _old_evaluation(self, key: Key, variant: Variant) -> Evaluation | None:
        content = self._get(key)
        if content is None:
            return None
        evaluation, notes = evaluation_of_entry(content)
        variant.notes += [note for note in notes if note not in variant.notes]
        variant.keep(EVALUATION, self._kept(key, content))
        return evaluation

    def _keep_evaluation(
        self, key: Key, variant: Variant, evaluation: Evaluation, before: int, files: Opened
    ) -> None:
        """Keep an evaluation with what it noted: all notes but those that were there before."""
        kept = Kept(str(key))
        try:
            self._put(key, evaluation_as_entry(evaluation, variant.notes[before:]), files)
        except ChangedSource as error:
            kept = Kept(why_not=f"evaluation: {error}")
        variant.keep(EVALUATION, kept)

    def _get(self, key: Key) -> Mapping[str, Any] | None:
        """What is kept under a key, unless a file that was read to make it is another one now."""
        content = self.entries.get(key)
        if content is None or not are_unchanged(json.loads(content.get("files", "{}")), self._root):
            return None
        return content

    def _put(self, key: Key, content: Mapping[str, Any], files: Opened | None = None) -> None:
        read = {} if files is None else {"files": json.dumps(files.told(self._root))}
        self.entries.put(key, {**content, **read, "run": self._run})

    def _kept(self, key: Key, content: Any) -> Kept:
        return Kept(str(key), is_old=content.get("run") != self._run)


def _bytes_of(built: Built) -> int:
    """About how large an entry of it is."""
    largest = built.module if built.fake_quantized is None else built.fake_quantized
    if isinstance(largest, Artefact):
        return largest.size_bytes
    return bytes_of(tensors_of(state_of(largest))) if isinstance(largest, torch.nn.Module) else 0
