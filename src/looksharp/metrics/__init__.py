"""Measurements of attention: pure functions."""

from looksharp.metrics.localisation import attention_inside
from looksharp.metrics.separability import separability

__all__ = ["attention_inside", "separability"]
