"""One contender's process: what it is asked for comes as arguments, its outcome goes out as JSON."""

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from mend_case import BATCH, Task
from mend_nncf import nncf
from mend_outcome import Outcome
from mend_package import package

Make = Callable[[Task], Outcome]
CONTENDERS: dict[str, Make] = {
    "pytest-quant, layers only": partial(package, per_channel=False, cheap=False),
    "pytest-quant": partial(package, per_channel=False, cheap=True),
    "NNCF, items of 1": partial(nncf, per_channel=False, batch=1),
    f"NNCF, items of {BATCH}": partial(nncf, per_channel=False, batch=BATCH),
    "NNCF per channel, items of 1": partial(nncf, per_channel=True, batch=1),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("contender", choices=CONTENDERS)
    parser.add_argument("case")
    parser.add_argument("folder", type=Path)
    parser.add_argument("limit", type=float)
    for name in ("shifts", "threads"):
        parser.add_argument(name, type=int)
    given = parser.parse_args()
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to the log
    _restrict(given.threads)
    asked = Task(given.case, given.folder, given.limit, given.shifts, given.threads)
    outcome = CONTENDERS[given.contender](asked)
    json.dump(asdict(outcome), answer)


def _restrict(threads: int) -> None:
    """As many cores as threads: NNCF compiles its models for all cores that it finds."""
    torch.set_num_threads(threads)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


if __name__ == "__main__":
    sys.exit(main())
