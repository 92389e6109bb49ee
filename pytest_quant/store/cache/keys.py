"""Keys: a digest of all that a build or an evaluation depends on."""

import hashlib
import json
from collections.abc import Callable, Collection, Hashable, Iterable
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from pytest_quant.errors import brief, in_brief
from pytest_quant.machine.cell import Cell
from pytest_quant.machine.conditions import Conditions, isolated
from pytest_quant.machine.environment import environment
from pytest_quant.machine.opened import Opened
from pytest_quant.machine.sources import ChangedSource, Sources
from pytest_quant.quantize.calibrate import calibration_source
from pytest_quant.quantize.lengths import MOST
from pytest_quant.store.cache.entries import Key
from pytest_quant.store.cache.not_kept import NotKept
from pytest_quant.store.cache.patches import patches
from pytest_quant.store.cache.state import state_of
from pytest_quant.subject.batches import (
    count_of,
    each_batch,
    inputs_only,
    on_cpu,
    size_of,
    taken,
    tensors_in,
    unpack,
)
from pytest_quant.subject.digests import digests, sample_digests
from pytest_quant.subject.door import Door
from pytest_quant.subject.fingerprint import (
    UnknownValue,
    fingerprint_and_files,
    known_fingerprint,
)
from pytest_quant.subject.subject import Admitted, Subject
from pytest_quant.subject.weights_digest import weights_digest
from pytest_quant.variant.evaluation import Passed
from pytest_quant.variant.recipe import Recipe
from pytest_quant.variant.variant import Variant

# Of the environment, what changes no figure that is kept.
NO_MATTER = ("workers", "cores", "commit", "branch", "dirty")


class Keys:
    """The keys of one run.

    Args:
        conditions: under which all is built and evaluated.
        apart: gives the files of tests, whose limits change nothing that is kept.
    """

    def __init__(
        self, conditions: Conditions, apart: Callable[[], Collection[str]] = frozenset
    ) -> None:
        self._conditions = conditions
        self._apart = apart
        self._sources = Sources()
        self._models: WeakKeyDictionary[Door, bytes | NotKept] = WeakKeyDictionary()
        self._weights: WeakKeyDictionary[Door, str | None] = WeakKeyDictionary()
        self._passes: dict[tuple[Hashable, ...], bytes] = {}

    def admit(self, admitted: Admitted, files: Opened | None = None) -> None:
        """Take down what an FP32 model is, before a test has it in hand, and which files were read to
        admit it."""
        if admitted.door not in self._models:
            self._weights[admitted.door] = weights_digest(admitted.module)
            try:
                read = {} if files is None else files.digests()
                known = json.dumps(list(read.values())).encode()  # wherever they lie
                self._models[admitted.door] = self._of_model(admitted) + known
            except ChangedSource as error:
                self._models[admitted.door] = NotKept(str(error))
            except NotKept as error:
                self._models[admitted.door] = error

    def release(self, identity: Hashable) -> None:
        """Forget what was read of an input."""
        for key in [key for key in self._passes if identity in key]:
            del self._passes[key]

    def build(self, admitted: Admitted, recipe: Recipe) -> Key:
        """Of a variant that is built after a recipe.

        Raises:
            NotKept: says why.
        """
        subject = admitted.subject
        parts = [self._world(), self._model(admitted), self._lengths(admitted)]
        own = {"quant_train": subject.train} if recipe.kind == "qat" else {}
        own |= {f"the build of {recipe.label}": recipe.build} if recipe.build else {}
        if recipe.cache_key is None and (names := [k for k, v in own.items() if v is not None]):
            raise NotKept(
                f"{names[0]} is code of yours; say what it depends on by Recipe(cache_key=...)"
            )
        parts.append(json.dumps([recipe.to_dict(), recipe.cache_key], sort_keys=True).encode())
        parts += [known_fingerprint(value) or b"" for value in own.values()]
        if recipe.kind == "static":
            parts.append(self._calibration(admitted, recipe.calibration_samples))
        if recipe.kind == "qat":
            parts.append(self._training(admitted))
        return _key("build", parts)

    def evaluation(
        self, variant: Variant, build: str | None, data: bytes, scored: bytes | None = None
    ) -> Key:
        """Of a variant's scores on the eval data.

        Args:
            variant: to be run inside its `isolated`.
            build: the key that it was built under; None of FP32.
            data: a digest of the eval data, as `Evaluation.passed` is.
            scored: as `scored` gave it before the evaluation, in which code may come to remember more.

        Raises:
            NotKept: says why.
        """
        how = self.scored(variant) if scored is None else scored
        shared = self.evaluated(variant.admitted, data, how)
        return _key("evaluation", [shared, (build or "").encode(), state_of(variant)])

    def pair(
        self, variant: Variant, build: str | None, baseline: str, cell: Cell | None, inputs: Any
    ) -> Key:
        """Of the rounds in which a variant is timed beside a baseline.

        Args:
            variant: to be run inside its `isolated`.
            build: the key that it was built under; None of FP32.
            baseline, cell: as `Variant.pair` is given.
            inputs: of one timed call.

        Raises:
            NotKept: says why.
        """
        how = json.dumps([build, baseline, None if cell is None else [cell.threads, cell.batch]])
        parts = [self.fp32(variant.fp32).digest.encode(), state_of(variant), how.encode()]
        return _key("rounds", [*parts, *digests(inputs, size_of(inputs))])

    def scored(self, variant: Variant) -> bytes:
        """What scores a variant's outputs.

        Raises:
            NotKept: says why.
        """
        told = self._told("quant_metric", variant.admitted.metrics)
        if variant.is_fp32 and variant.subject.slices is not None:  # which FP32's alone holds
            told += self._told("quant_slices", variant.subject.slices)
        return told

    def evaluated(self, admitted: Admitted, data: bytes, scored: bytes) -> bytes:
        """What the evaluations of all variants of a model depend on.

        Raises:
            NotKept: says why.
        """
        return b"".join((self._world(), self._model(admitted), data, scored))

    def fp32(self, variant: Variant) -> Key:
        """Of the mark that FP32 was evaluated before, on whatever data.

        Raises:
            NotKept: says why.
        """
        return _key("mark", [self._world(), self._model(variant.admitted)])

    def eval_data(self, variant: Variant) -> bytes:
        """A digest of the eval data, read once: as `Evaluation.passed` of a pass over it."""
        with variant.isolated((variant.subject.eval_data,)), variant.timed("read"):
            return self.read_eval_data(variant.subject)

    def read_eval_data(self, subject: Subject) -> bytes:
        """The same of a Subject, inside settings that are set.

        Raises:
            NotKept: it cannot be read.
        """

        def read() -> bytes:
            return self._passed(subject, "quant_eval_data", subject.eval_data)

        return self._once("eval", subject, "eval_data", read)

    def _world(self) -> bytes:
        """Code, versions, what was put into PyTorch, machine and conditions."""
        conditions = self._conditions
        known = {k: v for k, v in environment(conditions).items() if k not in NO_MATTER}
        known |= {"engine": conditions.engine, "train_device": conditions.train_device}
        try:
            sources = self._sources.digest(self._apart())
        except ChangedSource as error:
            raise NotKept(str(error)) from None
        return sources + patches() + json.dumps(known, sort_keys=True, default=str).encode()

    def _model(self, admitted: Admitted) -> bytes:
        self.admit(admitted)
        found = self._models[admitted.door]
        if isinstance(found, NotKept):
            raise found
        if weights_digest(admitted.module) != self._weights[admitted.door]:
            raise NotKept("FP32 was changed since it was admitted")
        return found

    def _of_model(self, admitted: Admitted) -> bytes:
        """FP32: its layers, weights, code, what it computes, and the settings that it computes in."""
        subject, door = admitted.subject, admitted.door
        first, outputs = list(tensors_in(admitted.first_inputs)), list(door.outputs)
        return b"".join(
            (
                self._told("quant_model", admitted.module),
                self._told("quant_forward", subject.forward),
                self._told("quant_batch", subject.batch),
                self._told("the first eval batch", [first, [*tensors_in(outputs)]]),
                self._told("a setting of PyTorch's", dict(door.state.values)),
            )
        )

    def _lengths(self, admitted: Admitted) -> bytes:
        """Sizes of the first eval batches, which a flow looks at before it is taken; images have one."""
        subject = admitted.subject
        if all(t.ndim == 4 and t.is_floating_point() for t in tensors_in(admitted.first_inputs)):
            return b""

        def read() -> bytes:
            batches = each_batch(subject.eval_data, "quant_eval_data", subject.batch)
            few = islice(batches, None if isinstance(subject.eval_data, list | tuple) else MOST)
            inputs = (on_cpu(unpack(b, "quant_eval_data", subject.batch)[0]) for b in few)
            sizes = [[list(t.shape) for t in tensors_in(each)] for each in inputs]
            return hashlib.blake2b(json.dumps(sizes).encode(), digest_size=16).digest()

        return self._once("lengths", subject, "eval_data", read)

    def _calibration(self, admitted: Admitted, samples: int) -> bytes:
        subject = admitted.subject
        fixture, data = calibration_source(subject)

        def read() -> bytes:
            passed, done = Passed(), 0
            for batch in each_batch(data, fixture, subject.batch, like=admitted.first_inputs):
                inputs = on_cpu(inputs_only(batch, fixture, subject.batch))
                count = min(size_of(inputs), samples - done) or 1
                passed.add(digests(taken(inputs, count), count))
                done += count
                if done >= samples:
                    break
            return passed.digest()

        return self._read(fixture, data, read)

    def _training(self, admitted: Admitted) -> bytes:
        """What training sees: of a state that was trained elsewhere the state; else one pass over the data,
        and what makes the order and the augmentation of the others."""
        subject = admitted.subject
        if subject.qat_state is not None:
            return self._told("quant_qat_state", _state_given(subject.qat_state))
        told = self._told("quant_loss", subject.loss)
        if subject.train_data is None:
            return told
        if subject.train is None:
            told += self._told("quant_train_data", subject.train_data)

        def read() -> bytes:
            return self._passed(subject, "quant_train_data", subject.train_data)

        return told + self._once("training", subject, "train_data", read)

    def _passed(self, subject: Subject, fixture: str, data: Any) -> bytes:
        """As `Evaluation.passed` of a pass over labelled data."""
        passed, batches = Passed(), count_of(data, fixture, subject.batch)
        with self._conditions.progress(f"read {fixture}", batches, "batches") as advance:
            for batch in each_batch(data, fixture, subject.batch):
                raw, targets = unpack(batch, fixture, subject.batch)
                inputs = on_cpu(raw)
                passed.add(sample_digests(inputs, targets, size_of(inputs))[1])
                advance(1)
        return passed.digest()

    def _once(self, what: str, subject: Subject, field: str, read: Callable[[], bytes]) -> bytes:
        """What is read of a Subject's data, kept until the data is released."""
        key = (what, *map(subject.identity_of, (field, "batch", "forward")))
        if key not in self._passes:
            self._passes[key] = self._read(f"quant_{field}", getattr(subject, field), read)
        return self._passes[key]

    def _read(self, fixture: str, data: Any, read: Callable[[], bytes]) -> bytes:
        """What is read of data, seeded anew."""
        try:
            with isolated(self._conditions, loaders=(data,)):
                return read()
        except Exception as error:  # which building or evaluating will tell
            raise NotKept(f"{fixture} could not be read ({brief(error)})") from error

    def _told(self, name: str, value: Any) -> bytes:
        try:
            digest, files = fingerprint_and_files(value)
            tests = files & set(self._apart())
            more = self._sources.beside_tests(tests) if tests else b""
            return digest + more + self._sources.unloaded(files - tests)
        except UnknownValue as error:
            raise NotKept(f"{name} holds what no digest can be made of: {error}") from None
        except ChangedSource as error:
            raise NotKept(str(error)) from None


def _state_given(state: Any) -> Any:
    """A state dict, or the bytes of the file that has it."""
    try:
        return Path(state).read_bytes() if isinstance(state, str | PathLike) else dict(state)
    except (OSError, TypeError, ValueError) as error:  # which building will tell
        raise NotKept(f"quant_qat_state cannot be read ({in_brief(error)})") from None


def _key(what: str, parts: Iterable[bytes]) -> Key:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return Key(what, digest.hexdigest())
