"""MLflow."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from looksharp.training.loggers.base import LOGGERS, RunLogger, kept_name

if TYPE_CHECKING:
    from lightning.pytorch.loggers import MLFlowLogger

__all__ = ["MLflow"]


@LOGGERS.register("mlflow")
class MLflow(RunLogger):
    """Write a run of MLflow to a file store, RUN/logs/mlflow, or to the server that MLFLOW_TRACKING_URI names."""

    package = "mlflow"
    logger: MLFlowLogger

    def __init__(self, out: Path, step: int) -> None:
        from lightning.pytorch.loggers import MLFlowLogger

        store = os.environ.get("MLFLOW_TRACKING_URI") or (out / "logs" / "mlflow").absolute().as_uri()
        if store.startswith("file:"):
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # newer versions want this said
        known = kept_name(out, "mlflow")
        self.logger = MLFlowLogger("looksharp", run_name=out.name, tracking_uri=store, run_id=known)
        if known is None:
            kept_name(out, "mlflow", self.logger.run_id)

    def picture(self, path: Path, epoch: int, step: int) -> None:
        """Keep the picture as the artifact maps/epoch-N.png."""
        self.logger.experiment.log_artifact(self.logger.run_id, str(path), "maps")

    def close(self) -> None:
        """Do nothing: Lightning ends the run."""
