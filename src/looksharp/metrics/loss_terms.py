"""Labels for loss terms that differ from the metric of the same name."""

from __future__ import annotations

from looksharp.metrics.catalogue import METRICS, Metric

METRICS.add("train_classification", Metric("Classification term"))
# The loss term, theta - share: it falls where the metric of the same name rises.
METRICS.add("train_consistency", Metric("Disagreement between layers"))
METRICS.add("train_mining", Metric("Confidence left with the attended part hidden", percent=True))
METRICS.add("train_guidance", Metric("Distance from the given masks"))
