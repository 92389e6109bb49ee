"""Sources: a digest of the code that this process runs: files of its own, versions of what is installed."""

import functools
import hashlib
import os
import time
from collections.abc import Collection

from pytest_quant.machine.libraries import OWN, installed_versions, own_modules

_digests: dict[str, bytes] = {}
_BEGUN = time.time()


class ChangedSource(Exception):
    """A file was changed while the process that had loaded it, or was about to, was running."""


def digest_of_sources(apart: Collection[str] = (), since: float = _BEGUN) -> bytes:
    """A digest of this package, of the user's own loaded modules, and of the installed versions.

    Args:
        apart: files that are left out.
        since: seconds of the epoch; a file that was changed later may not be what was loaded.

    Returns:
        32 bytes, BLAKE2b.

    Raises:
        ChangedSource: names the file.
    """
    digest = hashlib.blake2b(digest_size=32)
    digest.update(_own_sources())
    for name in installed_versions():
        digest.update(name.encode() + b"\0")
    for name, path in sorted(set(own_modules())):
        if path not in apart:
            digest.update(name.encode() + b"\0" + _digest_of(path, since))
    return digest.digest()


def _digest_of(path: str, since: float) -> bytes:
    if path not in _digests:
        try:
            if os.stat(path).st_mtime > since:
                raise ChangedSource(f"{path} was changed while the run ran")
            with open(path, "rb") as file:
                _digests[path] = hashlib.blake2b(file.read(), digest_size=16).digest()
        except OSError as error:
            raise ChangedSource(f"{path} cannot be read ({error.strerror})") from None
    return _digests[path]


@functools.lru_cache(maxsize=1)
def _own_sources() -> bytes:
    """Of this package all, since what is loaded of it varies; an editable install has no other version."""
    digest = hashlib.blake2b(digest_size=16)
    for folder, inner, names in sorted(os.walk(OWN)):
        inner[:] = [name for name in inner if name != "__pycache__"]
        for name in sorted(names):
            if name.endswith(".py"):
                path = os.path.join(folder, name)
                with open(path, "rb") as file:
                    digest.update(os.path.relpath(path, OWN).encode() + b"\0" + file.read())
    return digest.digest()
