"""The controlling side of one contender's process: start it, let it run a round, end it."""

import contextlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

WORKER = Path(__file__).with_name("engine_worker.py")
BUILD_SECONDS = 240.0
ROUND_SECONDS = 60.0


class Process:
    """A contender in a process of its own; built when this returns, or failed.

    Attributes:
        error: why there is nothing to time; empty while all is well.
        seconds: of one call, by round.
        processor: the processor's, of all threads, by round.
        busy, waited: processor and wall seconds between its rounds, while others ran theirs.
        mb, sqnr, built: what it told of itself; megabytes, dB, seconds.
        share: of the multiply-adds, in int8; None where nobody knows.
    """

    def __init__(self, name: str, model: str, folder: Path, batch: int, threads: int) -> None:
        self.name = name
        self.error = ""
        self.seconds: list[float] = []
        self.processor: list[float] = []
        self.busy = self.waited = 0.0
        self._log = folder / f"{name.replace('/', ' ')} {batch}.log"
        environment = os.environ | {
            "OMP_NUM_THREADS": str(threads),  # for pools made before the process can say
            "TORCHINDUCTOR_COMPILE_THREADS": "1",  # no pool of compilers that stays
        }
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, WORKER, model, name, folder, str(batch), str(threads)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
            )
        told = self._answer(BUILD_SECONDS)
        self.mb, self.sqnr = told.get("mb", 0.0), told.get("sqnr", 0.0)
        self.built = told.get("built", 0.0)
        self.share: float | None = told.get("share")

    def round(self) -> None:
        """One round more; other processes wait."""
        assert self._process.stdin is not None  # a pipe
        try:
            self._process.stdin.write("round\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the answer that is missing says why
        told = self._answer(ROUND_SECONDS)
        if not self.error:
            if self.seconds:  # before its first round it waited for others to be built
                self.busy += told["busy"]
                self.waited += told["waited"]
            self.seconds.append(told["seconds"])
            self.processor.append(told["processor"])

    def end(self) -> None:
        """The worker leaves when its input ends."""
        if self._process.stdin:
            with contextlib.suppress(BrokenPipeError):  # it has died, which its error says
                self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _answer(self, seconds: float) -> dict[str, Any]:
        assert self._process.stdout is not None  # a pipe
        watch = threading.Timer(seconds, self._process.kill)
        watch.start()
        text = self._process.stdout.readline()
        watch.cancel()
        told: dict[str, Any] = json.loads(text) if text else {"error": self._last_words(seconds)}
        self.error = told.get("error", "")
        return told

    def _last_words(self, seconds: float) -> str:
        code = self._process.wait()
        lines = self._log.read_text(errors="replace").strip().splitlines()
        late = f"no answer within {seconds:.0f} s; " if code == -9 else ""
        return f"{late}ended with code {code}: {lines[-1] if lines else 'no message'}"
