"""Training runs: from settings to a run folder and back."""

from looksharp.training.run import Run, load_run, train

__all__ = ["Run", "load_run", "train"]
