"""Training runs: from settings to a run folder and back."""

from looksharp.training.folder import Run, load_run
from looksharp.training.run import train

__all__ = ["Run", "load_run", "train"]
