"""Compare trained runs, and show people what differs."""

from looksharp.comparison.compare import compare

__all__ = ["compare"]
