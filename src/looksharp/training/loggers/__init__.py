"""Places where a run can be followed while it trains; each is one file."""

from looksharp.training.loggers.base import LOGGERS, RunLogger

__all__ = ["LOGGERS", "RunLogger"]
