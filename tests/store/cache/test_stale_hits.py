"""Stale hits: one thing changes at a time, and no key of what depends on it stays; a wrong hit is a wrong
verdict.

    PYTEST_QUANT_CHANGES=5000 PYTEST_QUANT_SEED=0 pytest tests/store/cache/test_stale_hits.py -s
"""

import os
import random

import pytest
from repos import Repo, changed, same

from pytest_quant.store.cache import keys

CHANGES = int(os.environ.get("PYTEST_QUANT_CHANGES", "500"))
SEED = int(os.environ.get("PYTEST_QUANT_SEED", "0"))
KEYS = ("the static build", "the QAT build", "the evaluation")


@pytest.fixture(scope="module", autouse=True)
def nothing_is_patched():
    """No change of these patches PyTorch; to look for patches would take half of the time."""
    with pytest.MonkeyPatch.context() as context:
        context.setattr(keys, "patches", lambda: b"")
        yield


@pytest.fixture(scope="module")
def base():
    return Repo().parts()


def test_the_same_repo_has_the_same_keys(base):
    assert same().parts() == base


@pytest.mark.slow
def test_no_change_leaves_the_key_of_what_depends_on_it(base):
    rng, stale, needless = random.Random(SEED), [], 0
    for number in range(CHANGES):
        repo, what, needs = changed(rng)
        for name, before, after, must in zip(KEYS, base, repo.parts(), needs, strict=True):
            if must and before == after:
                stale.append(f"{number}: {what} leaves the key of {name}")
            needless += before != after and not must
    print(f"\nseed {SEED}: {CHANGES} changes, {len(stale)} stale hits, {needless} needless misses")
    assert not stale
    assert needless == 0  # a miss where nothing depends on the change only costs time
