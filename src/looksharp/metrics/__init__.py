"""Measurements of attention: pure functions."""

from looksharp.metrics.average_precision import mean_average_precision
from looksharp.metrics.localisation import attention_inside
from looksharp.metrics.separability import separability

__all__ = ["attention_inside", "mean_average_precision", "separability"]
