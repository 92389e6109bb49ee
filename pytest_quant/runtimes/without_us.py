"""Without us: a script in a process of its own, which must not load this package, as in production."""

import subprocess
import sys
from pathlib import Path

from pytest_quant.errors import in_brief

SECONDS = 300.0  # for loading a file and one call of it
OTHER_BITS = "it gives other bits there than here"
LAST = '\nassert "pytest_quant" not in sys.modules\n'


def run(script: str, *arguments: str | Path | int) -> str | None:
    """Run a script, which imports `sys`, as production would.

    Returns:
        Why it failed, in half a sentence; None where it did not.
    """
    command = [sys.executable, "-P", "-c", script + LAST, *map(str, arguments)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        return in_brief(error)
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no word"]
    return None if done.returncode == 0 else f"it ended with {done.returncode}: {lines[-1]}"
