"""Values as a table, and pictures as files."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path

from looksharp.training.loggers.base import LOGGERS, RunLogger

__all__ = ["CSV"]


@LOGGERS.register("csv")
class CSV(RunLogger):
    """Write RUN/logs/csv/metrics.csv, and a picture an epoch beside it."""

    def __init__(self, out: Path, step: int) -> None:
        from lightning.pytorch.loggers import CSVLogger

        self.folder = out / "logs" / "csv"
        earlier = _rows(self.folder / "metrics.csv", step)
        self.logger = CSVLogger(out, "logs", "csv")
        writer = self.logger.experiment  # which removes the file of an earlier part
        writer.metrics.extend(earlier)
        writer.save()

    def picture(self, path: Path, epoch: int, step: int) -> None:
        """Copy the picture to RUN/logs/csv/maps/epoch-N.png."""
        target = self.folder / "maps" / f"epoch-{epoch:04}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)

    def close(self) -> None:
        """Do nothing: every row is written when it is logged."""


def _rows(path: Path, step: int) -> list[dict[str, float]]:
    """Return the rows of training steps before `step`; none if there is no file."""
    if not path.is_file():
        return []
    rows = csv.DictReader(io.StringIO(path.read_text()))
    found = [{name: float(value) for name, value in row.items() if value} for row in rows]
    return [row | {"step": int(row["step"])} for row in found if row.get("step", step) < step]
