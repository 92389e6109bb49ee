"""Trial: the first call of a file, in a process of its own with the runtime and NumPy alone.

What crashes, hangs or fills the memory there leaves the run as it was.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.runtimes.fit import Fit, Given, Unfit, fitted
from pytest_quant.runtimes.registry import RUNTIMES, named, runtime_of
from pytest_quant.runtimes.runtime import Kernel, Port

SECONDS = 300.0  # for loading a file and a few calls of it
# With the places of modules that this process has.
START = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from pytest_quant.runtimes.trial import answer
answer(sys.argv[2])
"""


@dataclass(frozen=True, slots=True)
class Tried:
    """What the first call of a file told.

    Args:
        fit: how it is called.
        kernels: what its session runs on this CPU in one call; None where that cannot be seen.
        calls: how many calls the first batch takes.
    """

    fit: Fit
    kernels: tuple[Kernel, ...] | None
    calls: float


def tried(
    path: Path,
    threads: int,
    given: Sequence[Given],
    wanted: Sequence[Given],
    seconds: float = SECONDS,
) -> Tried:
    """Load a file in a fresh process and call it on the first batch.

    Args:
        path: of the file.
        threads: that it computes with.
        given: what goes into the model's call.
        wanted: what the model gives.
        seconds: that it may take.

    Raises:
        QuantStageError: when it cannot be loaded or called, takes something else, or ends the process.
    """
    runtime = runtime_of(path)
    with tempfile.TemporaryDirectory(prefix="pytest-quant-") as name:
        folder = Path(name)
        asked = {
            "path": os.path.abspath(path),  # what a link leads to may have another suffix
            "threads": threads,
            "given": [each.name for each in given],
            "wanted": [each.name for each in wanted],
        }
        (folder / "asked.json").write_text(json.dumps(asked), encoding="utf-8")
        _write(folder / "given.npz", given)
        _write(folder / "wanted.npz", wanted)
        command = [sys.executable, "-P", "-c", START, json.dumps(sys.path), str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, timeout=seconds, check=False)
        except subprocess.TimeoutExpired:
            raise QuantStageError(
                "load",
                f"the first call of {path} in {named(runtime)} did not end in {seconds:.0f} s",
            ) from None
        told = folder / "told.json"
        if done.returncode or not told.is_file():
            raise QuantStageError("load", _crash(path, named(runtime), done))
        answer = json.loads(told.read_text(encoding="utf-8"))
    if "error" in answer:
        raise QuantStageError("load", answer["error"])
    return tried_of_plain(answer)


def tried_as_plain(told: Tried) -> dict[str, Any]:
    """Plain JSON types."""
    kernels = None if told.kernels is None else [asdict(each) for each in told.kernels]
    return {"fit": asdict(told.fit), "kernels": kernels, "calls": told.calls}


def tried_of_plain(plain: Mapping[str, Any]) -> Tried:
    """What `tried_as_plain` gave."""
    kernels = plain["kernels"]
    seen = None if kernels is None else tuple(Kernel(**each) for each in kernels)
    return Tried(_fit(plain["fit"]), seen, plain["calls"])


def _crash(path: Path, runtime: str, done: Any) -> str:
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    last = f" ({in_brief(RuntimeError(lines[-1])).removeprefix('RuntimeError: ')})" if lines else ""
    if done.returncode < 0:
        number = -done.returncode
        name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
        return (
            f"the first call of {path} in {runtime} ended its process by {name}{last}. The file, or this "
            "version of the runtime, is broken on this CPU; it would have ended the whole test run"
        )
    return (
        f"the first call of {path} in {runtime} ended its process with code {done.returncode}{last}"
    )


def _write(path: Path, tensors: Sequence[Given]) -> None:
    np.savez(path, *(each.array for each in tensors))


def _read(path: Path, names: list[str | None]) -> list[Given]:
    with np.load(path, allow_pickle=False) as held:
        return [Given(name, held[f"arr_{place}"]) for place, name in enumerate(names)]


def _fit(plain: dict[str, Any]) -> Fit:
    def ports(name: str) -> tuple[Port, ...]:
        return tuple(Port(**{**port, "shape": tuple(port["shape"])}) for port in plain[name])

    return Fit(
        ports("inputs"),
        ports("outputs"),
        tuple(plain["order"]),
        tuple(plain["results"]),
        plain["last"],
        tuple(plain["results_last"]),
        plain["batch"],
        tuple(plain["notes"]),
    )


def answer(folder: str) -> None:
    """What the fresh process does: call the file, and write down what that told."""
    told = json.dumps(_told(Path(folder)))
    Path(folder, "told.json").write_text(told, encoding="utf-8")


def _told(folder: Path) -> dict[str, Any]:
    asked = json.loads((folder / "asked.json").read_text(encoding="utf-8"))
    path, threads = Path(asked["path"]), asked["threads"]
    given, wanted = (_read(folder / f"{n}.npz", asked[n]) for n in ("given", "wanted"))
    runtime = next(each for each in RUNTIMES if path.suffix == each.SUFFIX)
    try:
        session = runtime.load(path, threads)
    except Exception as error:
        return {"error": f"{named(runtime)} cannot load {path}: {in_brief(error, 3)}"}
    try:
        fit = fitted(session, given, wanted)
    except Unfit as error:
        return {"error": f"{path} is not called as the model is: {error}"}
    except Exception as error:
        said = f"{named(runtime)} cannot run {path} on the first eval batch: {in_brief(error, 3)}"
        return {"error": said}
    values, calls = fit.first_part([each.array for each in given])
    try:
        kernels = runtime.kernels(path, threads, values)
    except Exception as error:
        note = f"does not show what it runs ({in_brief(error)})"
        kernels, fit = None, replace(fit, notes=(*fit.notes, note))
    return tried_as_plain(Tried(fit, None if kernels is None else tuple(kernels), calls))
