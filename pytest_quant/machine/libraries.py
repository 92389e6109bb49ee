"""Libraries: which files came with Python or by pip, and what of all that is loaded is the user's own."""

import functools
import hashlib
import os
import sys
import sysconfig
from collections.abc import Iterator
from types import ModuleType

INSTALLED = ("site-packages", "dist-packages")
GENERATED = "torchinductor_"  # where PyTorch puts what it compiles
OWN = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))  # this package's folder
DISTRIBUTIONS = (".dist-info", ".egg-info", ".egg")
SYSTEM = ("/lib", "/usr/lib", "/usr/local/cuda")  # and what begins so: lib64, lib32

_installed: dict[str, ModuleType] = {}  # by name, those found to be so


def is_installed(path: str | None) -> bool:
    """Whether a file of code belongs to Python, to an installed package, whose version tells what is in
    it, or to this one, or was made by PyTorch's compiler. An editable install is none, nor is code without
    a file (``exec``)."""
    if path is None:
        return True  # compiled into the interpreter
    return _is_installed(path)


@functools.cache
def _is_installed(path: str) -> bool:
    if path.startswith("<frozen "):
        return True
    if path.startswith("<"):
        return False
    parts = path.split(os.sep)
    if any(part in INSTALLED or part.startswith(GENERATED) for part in parts):
        return True
    return os.path.realpath(path).startswith(_known_places())


@functools.lru_cache(maxsize=1)
def _known_places() -> tuple[str, ...]:
    """The folders of the standard library, of commands, of compiled graphs, and of this package."""
    paths = sysconfig.get_paths()
    found = {os.path.realpath(paths[name]) for name in ("stdlib", "platstdlib", "scripts")}
    if generated := os.environ.get("TORCHINDUCTOR_CACHE_DIR"):
        found.add(os.path.realpath(generated))
    return tuple(os.path.join(path, "") for path in sorted({*found, OWN}))


def file_of(module: ModuleType) -> str | None:
    """The source file, or the compiled one, that a module was loaded from; None for what has none."""
    try:
        found = getattr(module, "__file__", None)
    except Exception:  # of a module that makes its attributes when they are asked for
        return None
    return found if isinstance(found, str) else None


def own_modules() -> Iterator[tuple[str, str]]:
    """Name and file of each loaded module that is not installed, this package aside."""
    for name, module in list(sys.modules.items()):
        if _installed.get(name) is module:
            continue
        if name == "__mp_main__":  # the main module once more, for processes that it starts
            continue
        path = file_of(module) if isinstance(module, ModuleType) else None
        if path is None:
            continue
        if is_installed(path):
            _installed[name] = module
            continue
        if (found := _file_or_archive(path)) is not None:
            yield name, found


def _file_or_archive(path: str) -> str | None:
    """The file itself, or the archive (a zip, an egg) that it lies in; None for neither."""
    while not os.path.isfile(path):
        above = os.path.dirname(path)
        if above in (path, "") or os.path.isdir(above):
            return None
        path = above
    return path


def own_libraries() -> Iterator[tuple[str, str]]:
    """Name and file of each library that is not installed and was loaded: of operators into PyTorch, or
    by whatever else; of the latter only Linux tells."""
    import torch

    for path in sorted({*getattr(torch.ops, "loaded_libraries", ()), *_mapped()}):
        if not is_installed(path) and os.path.isfile(path):
            yield os.path.basename(path), path


def _mapped() -> Iterator[str]:
    """The libraries in this process's memory, those of the system and of Python aside."""
    python = tuple(os.path.join(each, "") for each in {sys.prefix, sys.base_prefix} - {"/usr"})
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as lines:
            paths = {line.rstrip("\n")[line.find("/") :] for line in lines if "/" in line}
    except OSError:
        return
    for path in paths:
        if ".so" in os.path.basename(path) and not path.startswith((*SYSTEM, *python)):
            yield path


def installed_versions() -> tuple[str, ...]:
    """Name and version of every installed package, as its folder of metadata says them, and a digest of
    what it lists of its files: one that is built again may have other code under its version. Sorted."""
    found = set[str]()
    for place in sys.path:
        if (
            os.path.basename(place) not in INSTALLED
        ):  # as of packages that a package brings for itself
            continue
        try:
            names = os.listdir(place)
        except OSError:
            continue
        for name in names:
            if name.endswith(DISTRIBUTIONS):
                found.add(f"{name} {_listed_in(os.path.join(place, name))}")
    return tuple(sorted(found))


def _listed_in(folder: str) -> str:
    """A digest of the digests of a package's files, its metadata and commands aside."""
    path = os.path.join(folder, "RECORD")
    try:
        return _listed(path, os.stat(path).st_mtime_ns)
    except OSError:
        return ""


@functools.lru_cache(maxsize=4096)
def _listed(path: str, changed: int) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as lines:
        for line in lines:
            if b"=" in line and b".dist-info/" not in line and not line.startswith(b".."):
                digest.update(line)
    return digest.hexdigest()
