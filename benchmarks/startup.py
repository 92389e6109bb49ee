"""What the plugin adds to the start of every pytest run that does not use it.

    python benchmarks/startup.py [--pairs 30]

Times `pytest --collect-only` of an empty suite with the plugin installed and with it blocked
(`-p no:quant`), turn by turn, each in a process of its own. Prints medians, and the median of the
differences, of the processor's time (which other programs disturb less) and of the wall's. Compiled
modules are cached, as they are after the first run of an installation.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

PLAIN, BLOCKED = (), ("-p", "no:quant")
CACHED = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def seconds(folder: str, *arguments: str) -> tuple[float, float]:
    """Processor and wall time of one collection."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    before, start = _processor(), time.perf_counter()
    subprocess.run([*command, *arguments], cwd=folder, capture_output=True, check=False, env=CACHED)
    return _processor() - before, time.perf_counter() - start


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=30)
    pairs = parser.parse_args().pairs
    timed = []
    with tempfile.TemporaryDirectory() as folder:
        for arguments in (PLAIN, BLOCKED):
            seconds(folder, *arguments)  # compiles and warms the file cache
        for index in range(pairs):
            order = (PLAIN, BLOCKED) if index % 2 else (BLOCKED, PLAIN)
            turns = {arguments: seconds(folder, *arguments) for arguments in order}
            timed.append((turns[PLAIN], turns[BLOCKED]))
    print(f"{pairs} pairs, ms       processor    wall")
    for name, value in (
        ("with the plugin", lambda one, _, side: one[side]),
        ("without", lambda _, other, side: other[side]),
        ("added (of pairs)", lambda one, other, side: one[side] - other[side]),
    ):
        both = [1e3 * statistics.median(value(*pair, side) for pair in timed) for side in (0, 1)]
        print(f"{name:<20}{both[0]:9.1f}{both[1]:8.1f}")


if __name__ == "__main__":
    main()
