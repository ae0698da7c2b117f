"""metrics.csv: one row an epoch, kept over interruptions."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from looksharp.files import read_text, write_text

__all__ = ["History", "read_history"]


class History(Callback):
    """Append each epoch's logged values to a CSV file, which is always whole."""

    def __init__(self, path: Path) -> None:
        self.path, self.started = path, time.perf_counter()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the epoch's clock."""
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the row of this epoch, in place of one that an earlier, interrupted run left."""
        if not trainer.is_global_zero:
            return
        epoch = trainer.current_epoch
        row: dict[str, float] = {"epoch": epoch, "seconds": round(time.perf_counter() - self.started, 3)}
        row["lr"] = trainer.optimizers[0].param_groups[0]["lr"]
        row |= {
            name: value.item()
            for name, value in sorted(trainer.callback_metrics.items())
            if name.startswith(("train_", "val_"))
        }
        rows = [old for old in read_history(self.path) if old["epoch"] < epoch] + [row]
        columns = list(dict.fromkeys(name for r in rows for name in r))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns)
        writer.writeheader()
        writer.writerows(r | {"epoch": int(r["epoch"])} for r in rows)
        write_text(self.path, text.getvalue())


def read_history(path: Path) -> list[dict[str, float]]:
    """Read the rows of a metrics.csv; none if there is no file.

    Raises:
        ValueError: if the file is damaged.
    """
    if not path.is_file():
        return []
    rows = csv.DictReader(io.StringIO(read_text(path)))
    try:
        found = [{name: float(value) for name, value in row.items() if value} for row in rows]
    except (ValueError, TypeError, csv.Error):  # no number, more values than columns, no text
        raise ValueError(f"{path} is damaged in line {rows.line_num}: mend the line, or remove the file") from None
    lacking = next((name for row in found for name in ("epoch", "seconds") if name not in row), None)
    if lacking is not None:
        raise ValueError(f"{path} is damaged: a row lacks {lacking}; mend it, or remove the file")
    return found
