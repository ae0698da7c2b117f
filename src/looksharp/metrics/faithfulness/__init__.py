"""Measure whether a class's probability follows its map: images are changed where the map is high, or low."""

from looksharp.metrics.faithfulness.average_drop import AverageDrop, ConfidenceChange, average_drop
from looksharp.metrics.faithfulness.imputation import noisy_linear_imputation
from looksharp.metrics.faithfulness.insertion_deletion import (
    Curve,
    Deletion,
    Insertion,
    deletion,
    deletion_curve,
    insertion,
    insertion_curve,
)
from looksharp.metrics.faithfulness.road import Road, RoadCurves, road

__all__ = [
    "AverageDrop",
    "ConfidenceChange",
    "Curve",
    "Deletion",
    "Insertion",
    "Road",
    "RoadCurves",
    "average_drop",
    "deletion",
    "deletion_curve",
    "insertion",
    "insertion_curve",
    "noisy_linear_imputation",
    "road",
]
