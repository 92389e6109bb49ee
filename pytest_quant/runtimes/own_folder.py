"""Own folder: a temporary folder that lives as long as what holds it."""

import shutil
import tempfile
import weakref
from pathlib import Path

from pytest_quant.machine.opened import leave_out, watch_again


class OwnFolder:
    """Gone when nobody holds this any more, or when the process ends.

    Attributes:
        path: of the folder.
    """

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="pytest-quant-"))
        leave_out(self.path)
        weakref.finalize(self, _remove, self.path)


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    watch_again(path)
