"""Traced: where in the user's own code a tracer gave up."""

import linecache
import traceback
from pathlib import Path


def users_line(error: BaseException) -> str:
    """Where in the user's own code it happened: ``(model.py:12: if x.sum() > 0:)``."""
    import torch

    site = Path(torch.__file__).parents[1]
    library = (f"{site}/torch/", f"{site}/torchao/", f"{Path(__file__).parents[2]}/")
    frames = [*traceback.extract_tb(error.__traceback__), *getattr(error, "real_stack", ())]
    for frame in reversed(frames):
        ours = frame.filename.startswith((*library, "<"))
        if not ours and not frame.filename.endswith("/typing_extensions.py"):
            line = linecache.getline(frame.filename, frame.lineno or 0).strip()
            return f" ({Path(frame.filename).name}:{frame.lineno}: {line})"
    return ""
