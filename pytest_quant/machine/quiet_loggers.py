"""Quiet loggers: those of others, while they would tell what nobody asked for."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


@contextmanager
def loggers_at(level: int, names: Iterable[str]) -> Iterator[None]:
    """With these loggers at a level, as of the module `logging`."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(level)
        yield
    finally:
        for logger, before in zip(loggers, levels, strict=True):
            logger.setLevel(before)
