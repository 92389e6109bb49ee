"""What the cache spares: the example from cold, again, with another limit, with one weight changed.

    python benchmarks/cache.py [--workers 0 2]

Each run is a process of its own on a copy of the example whose models are trained already. Printed are
the seconds of its stages by the report, timing and the reading of data apart, the wall time, and the
ratio of both to the cold run. Runs follow each other; a cold one stands at the beginning and at the end,
so that another load on the machine shows.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from tabulate import tabulate

EXAMPLE = Path(__file__).parents[1] / "example_project"
APART = ("time", "read")  # stages that no cache can spare
HEADER = ("run", "workers", "stages, s", "of cold", "wall, s", "of cold", "from the cache")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[0])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        repo = Path(folder, "example")
        shutil.copytree(EXAMPLE, repo, ignore=shutil.ignore_patterns(".pytest_cache"))
        run(repo, 0)  # trains the FP32 models
        rows: list[tuple[object, ...]] = []
        for workers in options.workers:
            shutil.rmtree(repo / ".pytest_cache", ignore_errors=True)
            cold: tuple[float, float] | None = None
            for name in runs(repo):
                stages, wall, kept = run(repo, workers)
                cold = cold or (stages, wall)
                ratios = stages / cold[0], wall / cold[1]
                rows.append((name, workers, stages, ratios[0], wall, ratios[1], kept))
                print(name, workers, f"{stages:.1f} {wall:.1f} {kept}", file=sys.stderr, flush=True)
        print(tabulate(rows, HEADER, floatfmt=("", "", ".1f", ".2f", ".1f", ".2f", "")))


def runs(repo: Path) -> Iterator[str]:
    """Prepare one run after the other; yields what it is."""
    yield "cold"
    yield "warm"
    tests = repo / "tests" / "test_quantized.py"
    tests.write_text(re.sub(r"min_speedup=1\.5", "min_speedup=1.4", tests.read_text()))
    yield "another limit"
    path = next((repo / "weights").glob("cnn-*.pt"))
    state = torch.load(path, weights_only=True)
    weight = next(value for value in state.values() if value.ndim == 4)
    weight[0, 0, 0, 0] *= 1.001
    torch.save(state, path)
    yield "one weight of the CNN changed"
    shutil.rmtree(repo / ".pytest_cache")
    yield "cold again"


def run(repo: Path, workers: int) -> tuple[float, float, str]:
    """Seconds of the stages, wall time, and how many builds and evaluations came from the cache."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--quant",
        "-q",
        "--quant-report=r",
        "-p",
        "no:randomly",
    ]
    command += ["-n", str(workers)] if workers else []
    start = time.perf_counter()
    done = subprocess.run(command, cwd=repo, env=os.environ, capture_output=True, text=True)
    wall = time.perf_counter() - start
    if done.returncode:
        sys.exit(done.stdout[-3000:])
    rows = json.loads((repo / "r" / "report.json").read_text())["rows"]
    stages = sum(s for row in rows for stage, s in row["seconds"].items() if stage not in APART)
    kept = [what for row in rows for what in row["from_cache"]]
    return stages, wall, f"{kept.count('build')} builds, {kept.count('evaluation')} evaluations"


if __name__ == "__main__":
    main()
