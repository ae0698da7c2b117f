"""TensorBoard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from looksharp.training.loggers.base import LOGGERS, RunLogger

if TYPE_CHECKING:
    from lightning.pytorch.loggers import TensorBoardLogger

__all__ = ["TensorBoard"]


@LOGGERS.register("tensorboard")
class TensorBoard(RunLogger):
    """Write events to RUN/logs/tensorboard: `tensorboard --logdir RUN/logs`."""

    package = "tensorboard"
    logger: TensorBoardLogger

    def __init__(self, out: Path, step: int) -> None:
        from lightning.pytorch.loggers import TensorBoardLogger

        # Steps that an interrupted part went beyond its last checkpoint are taken anew.
        self.logger = TensorBoardLogger(out, "logs", "tensorboard", default_hp_metric=False, purge_step=step or None)

    def picture(self, path: Path, epoch: int, step: int) -> None:
        """Log the picture as `maps`."""
        import numpy as np
        from PIL import Image

        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        self.logger.experiment.add_image("maps", pixels, step, dataformats="HWC")

    def close(self) -> None:
        """Write what is still in memory."""
        self.logger.experiment.close()
