"""The form of a logger of runs, and the registry of all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from looksharp.registry import Registry
from looksharp.settings import SettingError

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

__all__ = ["LOGGERS", "RunLogger", "check_loggers", "kept_name"]


class RunLogger(ABC):
    """Keeps the logged values and pictures of one run, below RUN/logs; registered in `LOGGERS`.

    It holds one of Lightning's own loggers. A run that is resumed is the same one there: values follow those that were
    logged before.

    Args:
        out: the run folder.
        step: training steps of an earlier, interrupted part of the run, whose values are kept; 0 for a new run.

    Attributes:
        package: name of the package that it needs; "" for none.
        logger: Lightning's logger.
    """

    package: ClassVar[str] = ""
    logger: Logger

    @abstractmethod
    def __init__(self, out: Path, step: int) -> None: ...

    @abstractmethod
    def picture(self, path: Path, epoch: int, step: int) -> None:
        """Keep the picture of an epoch's maps.

        Args:
            path: PNG file, which may be gone later.
            epoch: number of the epoch, from 0.
            step: last training step, from 0.
        """

    @abstractmethod
    def close(self) -> None:
        """End what was begun, so that another run of this process begins anew."""


LOGGERS: Registry[type[RunLogger]] = Registry("logger", "looksharp.training.loggers")
"""Every logger by the name that settings use."""


def check_loggers(names: list[str]) -> None:
    """Refuse loggers that are not known or whose package is missing.

    Raises:
        SettingError: the message names the package.
    """
    for name in names:
        package = LOGGERS.find(name).package
        if package and find_spec(package) is None:
            raise SettingError(f"logger {name} needs the package {package}: pip install {package}")


def kept_name(out: Path, kind: str, new: str | None = None) -> str | None:
    """Return the name by which a service knows a run, kept as RUN/logs/KIND.id; None if there is none.

    Args:
        out: the run folder.
        kind: the service.
        new: the name, to be kept from now on.
    """
    file = out / "logs" / f"{kind}.id"
    if new is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{new}\n")
        return new
    return file.read_text().strip() if file.is_file() else None
