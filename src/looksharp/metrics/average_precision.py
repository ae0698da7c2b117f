"""Mean average precision over the classes that occur."""

from __future__ import annotations

import warnings

from torch import Tensor
from torchmetrics.classification import MultilabelAveragePrecision

__all__ = ["mean_average_precision"]


def mean_average_precision(metric: MultilabelAveragePrecision) -> Tensor:
    """The mean of per-class average precisions over the classes that have a positive image; 0 if none has.

    torchmetrics and scikit-learn count a class without positives as 0 and warn, which would make the mean of a
    small split a measure of how many classes happen to be in it.

    Args:
        metric: updated, with `average=None`.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No positive samples found")
        values = metric.compute()  # (C,), above 0 wherever there is a positive
    return values.sum() / (values > 0).sum().clamp(min=1)
