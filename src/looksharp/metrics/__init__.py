"""Measurements of classification and attention: pure functions, and torchmetrics classes over them."""

from looksharp.metrics.average_precision import ClassRanking, mean_average_precision
from looksharp.metrics.classification import CalibrationError, log_odds
from looksharp.metrics.localisation import attention_inside
from looksharp.metrics.margin import SeparationChart, separation_chart
from looksharp.metrics.separability import ConfusedPairs, separability

__all__ = [
    "CalibrationError",
    "ClassRanking",
    "ConfusedPairs",
    "SeparationChart",
    "attention_inside",
    "log_odds",
    "mean_average_precision",
    "separability",
    "separation_chart",
]
