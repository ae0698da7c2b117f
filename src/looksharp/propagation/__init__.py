"""Propagate a few marks to every training image by a small segmenter that learns them."""

from looksharp.propagation.propagate import Propagated, propagate

__all__ = ["Propagated", "propagate"]
