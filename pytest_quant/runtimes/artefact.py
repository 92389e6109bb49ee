"""Artefact: a file of another runtime as a module that is called as the FP32 model is."""

import copy
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pytest_quant.errors import QuantStageError
from pytest_quant.runtimes.fit import Fit, Given, Unfit
from pytest_quant.runtimes.only_call import OnlyCall, only_call
from pytest_quant.runtimes.registry import digest_of, files_of, named, runtime_of
from pytest_quant.runtimes.runtime import Array, Kernel, Session
from pytest_quant.runtimes.trial import Tried, tried
from pytest_quant.subject.batches import tensors_in
from pytest_quant.subject.samples import rebuilt
from pytest_quant.subject.subject import Admitted


class Artefact(torch.nn.Module):
    """What calls a file. A copy has sessions of its own, and so has each number of threads.

    Args:
        files: that production needs: the file, then those beside it.
        arguments: the names of the FP32 model's positional arguments.
        outputs: the FP32 model's for the first batch, for their form and types.
        told: by the file's first call.

    Attributes:
        arguments: the names of the FP32 model's positional arguments.
        folder: what keeps a temporary folder of the file there.
        path: of the file itself.
        size_bytes: of these.
        runtime: its name and version.
    """

    contents: torch.Tensor  # a digest of the files, so that another file is another state

    def __init__(
        self, files: Sequence[Path], arguments: Sequence[str], outputs: Any, told: Tried
    ) -> None:
        super().__init__()
        self.path, self.files = files[0], list(files)
        self.size_bytes = sum(each.stat().st_size for each in self.files)
        self._written = _Written.of(self.files)
        self.runtime = named(runtime_of(self.path))
        self.told = told
        self.folder: Any = None  # a temporary one, which is gone with the last copy
        self.register_buffer("contents", torch.tensor(list(digest_of(self.files))).byte())
        self.arguments = tuple(arguments)
        self._types = tuple(tensor.dtype for tensor in tensors_in(outputs))
        self._form = _numbered(outputs)
        self._direct = set[tuple[Any, ...]]()  # kinds of calls whose tensors go in as they are
        self._sessions: dict[int, Session] = {}

    @property
    def fit(self) -> Fit:
        """How the file is called."""
        return self.told.fit

    @property
    def kernels(self) -> tuple[Kernel, ...] | None:
        """What a session runs on this CPU; None where that cannot be seen."""
        return self.told.kernels

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As the FP32 model's, in the runtime, with PyTorch's number of threads."""
        session = self.session(torch.get_num_threads())
        kind = None if kwargs else _kind_of(args)
        if kind in self._direct:  # production has nothing between its arrays and the runtime either
            outputs = session.run([args[place].numpy() for place in self.fit.order])
            arrays = [outputs[place] for place in self.fit.results]
        else:
            arrays = self._checked(session, args, kwargs, kind)

        def filled(number: torch.Tensor) -> torch.Tensor:
            place = int(number)
            return torch.from_numpy(np.ascontiguousarray(arrays[place])).to(self._types[place])

        return rebuilt(self._form, filled)

    def _checked(
        self,
        session: Session,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        kind: tuple[Any, ...] | None,
    ) -> list[Array]:
        """The results of a call whose tensors are first seen to fit; others of its kind do as well."""
        given = [each.array for each in named_tensors(args, kwargs, self.arguments)]
        try:
            arrays = self.fit.run(session, given)
        except Unfit as error:
            raise ValueError(
                f"{self.path.name} is not called as the model is: {error}; give the model inputs of the "
                "file's sizes (pad them), or make a file that takes any"
            ) from None
        if kind is not None and self.fit.is_direct(given):
            self._direct.add(kind)
        return arrays

    def session(self, threads: int) -> Session:
        """The one that computes with so many threads.

        Raises:
            QuantStageError: when the file is another one by now.
        """
        if threads not in self._sessions:
            self._refuse_other_contents()
            self._sessions.clear()  # of which one at a time is enough
            self._sessions[threads] = runtime_of(self.path).load(self.path, threads)
        return self._sessions[threads]

    def refuse_changed(self) -> None:
        """What is there now must be what was first read; it is read again where it was written since.

        Raises:
            QuantStageError: it is not.
        """
        if (written := _Written.of(self.files)) != self._written:
            self._refuse_other_contents()
            self._written = written

    def _refuse_other_contents(self) -> None:
        if not self.is_of(self.files):
            raise QuantStageError(
                "load", f"{self.path} is another file than when it was first read; run again"
            )

    def is_of(self, files: Sequence[Path]) -> bool:
        """Whether these files have the contents of those that were first read."""
        try:
            return digest_of(files) == bytes(self.contents.tolist())
        except OSError:  # one is gone
            return False

    def __deepcopy__(self, memo: dict[int, Any]) -> "Artefact":
        made = copy.copy(self)
        made._sessions = {}
        memo[id(self)] = made
        return made

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_sessions": {}}


@dataclass(frozen=True, slots=True)
class _Written:
    """When files were written, and which they are; nothing where one is gone. The same contents elsewhere
    are the same state of a model, and are written at another time."""

    known: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, files: Sequence[Path]) -> "_Written":
        try:
            known = [each.stat() for each in files]
        except OSError:
            return cls(())
        return cls(tuple((each.st_mtime_ns, each.st_size, each.st_ino) for each in known))


def artefact_of(path: Path, admitted: Admitted, threads: int) -> Artefact:
    """A file as a variant of an FP32 model, after its first call in a process of its own.

    Args:
        path: of the file.
        admitted: the FP32 model, whose first batch it is called on.
        threads: that it computes with.

    Raises:
        QuantStageError: when it is missing, cannot be loaded or is called in another way.
    """
    with torch.inference_mode():
        seen = only_call(admitted.module, admitted.first_inputs, admitted.subject.forward)
    return called_so(path, admitted.module, seen, threads)


def called_so(path: Path, module: Any, seen: OnlyCall, threads: int) -> Artefact:
    """A file that stands for a module, by one call of the module.

    Args:
        path: of the file.
        module: whose arguments have names.
        seen: the call.
        threads: that it computes with.

    Raises:
        QuantStageError: as `artefact_of`.
    """
    files, arguments = files_of(path), arguments_of(module)
    given = named_tensors(seen.args, seen.kwargs, arguments)
    wanted = [Given(name, tensor.numpy()) for name, tensor in named_outputs(seen.outputs)]
    if not wanted:
        raise QuantStageError("load", "the model gives no tensor, so that no file can stand for it")
    return Artefact(files, arguments, seen.outputs, tried(path, threads, given, wanted))


def named_tensors(
    args: Sequence[Any], kwargs: Mapping[str, Any], arguments: Sequence[str]
) -> list[Given]:
    """The tensors of a call, by the names of its arguments; several of one are numbered."""
    by_name = ordered(kwargs, arguments)
    every = [*zip([*arguments, *[None] * len(args)], args, strict=False), *by_name.items()]
    found = []
    for name, value in every:
        tensors = list(tensors_in(value))
        for number, tensor in enumerate(tensors):
            own = f"{name}.{number}" if name and len(tensors) > 1 else name
            found.append(Given(own, tensor.detach().contiguous().numpy()))
    return found


def ordered(kwargs: Mapping[str, Any], arguments: Sequence[str]) -> dict[str, Any]:
    """What is given by name in the order of the arguments, whatever order the caller gives it in."""
    named = [name for name in arguments if name in kwargs]
    return {name: kwargs[name] for name in [*named, *sorted(kwargs.keys() - set(named))]}


def arguments_of(module: Any) -> list[str]:
    """The names of a module's positional arguments."""
    try:
        parameters = inspect.signature(module.forward).parameters.values()
    except (TypeError, ValueError):
        return []
    by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [each.name for each in parameters if each.kind in by_place]


def named_outputs(outputs: Any) -> Iterator[tuple[str | None, torch.Tensor]]:
    """The tensors of a model's outputs, by the keys of a dict."""
    if isinstance(outputs, Mapping):
        for name, value in outputs.items():
            tensors = list(tensors_in(value))
            own = str(name) if len(tensors) == 1 else None
            yield from ((own, tensor) for tensor in tensors)
    else:
        yield from ((None, tensor) for tensor in tensors_in(outputs))


def _kind_of(args: Sequence[Any]) -> tuple[Any, ...] | None:
    """Sizes and types of the tensors of a call; None where they are in nests, or have to be copied."""
    for each in args:
        is_plain = type(each) is torch.Tensor and each.layout is torch.strided
        if not is_plain or not each.is_contiguous() or each.requires_grad:
            return None
    return tuple((each.shape, each.dtype) for each in args)


def _numbered(outputs: Any) -> Any:
    """The same nest with each tensor's number in its place."""
    count = iter(range(10**6))
    return rebuilt(outputs, lambda tensor: torch.full((), next(count), dtype=torch.int64))
