"""Sources: a digest of the code that this process runs: files of its own, versions of what is installed."""

import ast
import functools
import hashlib
import os
import time
from collections.abc import Collection, Iterable
from contextlib import suppress

from pytest_quant.machine.libraries import OWN, installed_versions, own_libraries, own_modules

# Of the environment, what chooses kernels, or what code there is.
SETTINGS = (
    "ONEDNN_", "DNNL_", "TORCH", "PYTORCH_", "OMP_", "MKL_", "KMP_", "ATEN_", "GOMP_", "OPENBLAS_", "BLIS_",
    "FBGEMM_", "NPY_", "TRITON_", "LD_PRELOAD", "GLIBC_TUNABLES", "PYTHONOPTIMIZE", "PYTHONHASHSEED",
)  # fmt: skip


class ChangedSource(Exception):
    """A file was changed while the process that had loaded it, or was about to, was running."""


class Sources:
    """The code of one run.

    Attributes:
        since: seconds of the epoch; a file that was changed later may not be what was loaded.
    """

    def __init__(self) -> None:
        self.since = time.time()
        self._digests: dict[str, bytes] = {}

    def digest(self, apart: Collection[str] = ()) -> bytes:
        """A digest of this package, of the user's own loaded modules and libraries of operators, of the
        installed versions, and of the environment's settings of kernels.

        Args:
            apart: files that are left out.

        Returns:
            32 bytes, BLAKE2b.

        Raises:
            ChangedSource: names the file.
        """
        digest = hashlib.blake2b(digest_size=32)
        digest.update(_own_sources())
        for name in installed_versions():
            digest.update(name.encode() + b"\0")
        for name, value in sorted(os.environ.items()):
            if name.startswith(SETTINGS) and not name.endswith("_DIR"):  # of PyTorch's own caches
                digest.update(f"{name}={value}\0".encode(errors="surrogateescape"))
        for name, path in sorted({*own_modules(), *own_libraries()}):
            if path not in apart:
                digest.update(name.encode() + b"\0" + self._digest_of(path))
        return digest.digest()

    def unloaded(self, paths: Iterable[str]) -> bytes:
        """A digest of files of code that was run without being a loaded module, or is none any more, as a
        conftest.py beside another one; what the run itself has written is left out."""
        digest, loaded = hashlib.blake2b(digest_size=16), {path for _, path in own_modules()}
        for path in sorted({*paths} - loaded):
            with suppress(ChangedSource):
                digest.update(self._digest_of(path))
        return digest.digest()

    def beside_tests(self, paths: Iterable[str]) -> bytes:
        """A digest of files of tests without the tests themselves: of what else a model may use of them.

        Raises:
            ChangedSource: names the file.
        """
        digest = hashlib.blake2b(digest_size=16)
        for path in sorted(paths):
            self._digest_of(path)
            try:
                with open(path, "rb") as file:
                    tree = ast.parse(file.read())
            except (OSError, SyntaxError, ValueError) as error:
                raise ChangedSource(f"{path} cannot be read ({error})") from None
            tree.body = _without_tests(tree.body)
            digest.update(ast.dump(tree).encode(errors="surrogatepass"))
        return digest.digest()

    def _digest_of(self, path: str) -> bytes:
        if path not in self._digests:
            try:
                if os.stat(path).st_mtime > self.since:
                    raise ChangedSource(f"{path} was changed while the run ran")
                with open(path, "rb") as file:
                    self._digests[path] = hashlib.blake2b(file.read(), digest_size=16).digest()
            except OSError as error:
                raise ChangedSource(f"{path} cannot be read ({error.strerror})") from None
        return self._digests[path]


def _without_tests(body: list[ast.stmt]) -> list[ast.stmt]:
    kept = []
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name[:4] == "test":
            continue
        if isinstance(node, ast.ClassDef):
            node.body = _without_tests(node.body)
        kept.append(node)
    return kept


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
