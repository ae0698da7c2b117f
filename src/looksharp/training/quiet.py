"""Keep remarks of libraries off the terminal while something runs, and leave logging and warnings as they were."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["quiet"]

_LOGGERS = ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Lightning's remarks about hardware and loaders, and torchmetrics' about values, inside the with."""
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    try:
        for name in _LOGGERS:
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning|torchmetrics")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
