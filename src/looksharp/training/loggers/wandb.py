"""Weights & Biases."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from looksharp.training.loggers.base import LOGGERS, RunLogger, kept_name

if TYPE_CHECKING:
    from lightning.pytorch.loggers import WandbLogger

__all__ = ["WeightsAndBiases"]


@LOGGERS.register("wandb")
class WeightsAndBiases(RunLogger):
    """Write a run of Weights & Biases to RUN/logs/wandb, offline unless WANDB_MODE=online; `wandb sync` uploads it."""

    package = "wandb"
    logger: WandbLogger

    def __init__(self, out: Path, step: int) -> None:
        from lightning.pytorch.loggers import WandbLogger

        name = kept_name(out, "wandb") or kept_name(out, "wandb", uuid4().hex[:8])
        offline = os.environ.get("WANDB_MODE", "offline") != "online"
        self.logger = WandbLogger(
            name=out.name,
            save_dir=out / "logs",  # below which wandb makes a folder of its own name
            project=os.environ.get("WANDB_PROJECT", "looksharp"),
            version=name,
            offline=offline,
        )

    def picture(self, path: Path, epoch: int, step: int) -> None:
        """Log the picture as `maps`."""
        self.logger.log_image("maps", [str(path)], caption=[f"epoch {epoch + 1}"])

    def close(self) -> None:
        """End the run, which the next one of this process would continue."""
        self.logger.experiment.finish()
