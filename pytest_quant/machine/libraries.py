"""Libraries: which files came with Python or by pip, and what of all that is loaded is the user's own."""

import functools
import os
import sys
import sysconfig
from collections.abc import Iterator
from types import ModuleType

INSTALLED = ("site-packages", "dist-packages")
GENERATED = "torchinductor_"  # where PyTorch puts what it compiles
OWN = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))  # this package's folder
DISTRIBUTIONS = (".dist-info", ".egg-info")


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
        if name == "__mp_main__":  # the main module once more, for processes that it starts
            continue
        path = file_of(module) if isinstance(module, ModuleType) else None
        if path is not None and not is_installed(path) and os.path.isfile(path):
            yield name, path


def own_libraries() -> Iterator[tuple[str, str]]:
    """Name and file of each library of operators that was loaded into PyTorch and is not installed."""
    import torch

    for path in sorted(getattr(torch.ops, "loaded_libraries", ())):
        if not is_installed(path) and os.path.isfile(path):
            yield os.path.basename(path), path


def installed_versions() -> tuple[str, ...]:
    """Name and version of every installed package, as its folder of metadata says them, sorted."""
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
        found.update(name for name in names if name.endswith(DISTRIBUTIONS))
    return tuple(sorted(found))
