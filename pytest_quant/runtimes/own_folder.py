"""Own folder: a temporary folder that lives as long as what holds it."""

import shutil
import tempfile
import weakref
from pathlib import Path


class OwnFolder:
    """Gone when nobody holds this any more, or when the process ends.

    Attributes:
        path: of the folder.
    """

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="pytest-quant-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)
