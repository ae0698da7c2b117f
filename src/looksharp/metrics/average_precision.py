"""Measure how well the images of each class are ranked before others."""

from __future__ import annotations

import warnings
from typing import NamedTuple, Unpack

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import MultilabelAveragePrecision

from looksharp.metrics.grouped import MetricOptions
from looksharp.metrics.pixel_average_precision import histogram_average_precision

__all__ = ["ClassRanking", "Ranking", "histogram_roc_auc", "mean_average_precision"]

_RANGE = 16.0  # log-odds beyond it, of probabilities within 1e-7 of 0 or 1, share a bin


def mean_average_precision(metric: MultilabelAveragePrecision) -> Tensor:
    """Average the per-class average precisions over the classes that have a positive image; 0 if none has.

    torchmetrics and scikit-learn count a class without positives as 0 and warn, which would make the mean over a
    small split depend on how many classes it happens to hold.

    Args:
        metric: an updated metric with `average=None`.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No positive samples found")
        values = metric.compute()  # (C,), above 0 wherever there is a positive
    return values.sum() / (values > 0).sum().clamp(min=1)


def histogram_roc_auc(histograms: Tensor) -> Tensor:
    """Compute the area under the ROC curve: how often a positive scores above a negative, ties as half.

    Args:
        histograms: (..., 2, n) counts of negatives and of positives by ascending score.

    Returns:
        (...) in [0, 1], in float64; NaN without positives or without negatives.

    Example:
        >>> histogram_roc_auc(torch.tensor([[2, 1, 0], [0, 1, 1]]))
        tensor(0.9167, dtype=torch.float64)

    """
    negatives, positives = histograms.double().unbind(-2)  # (..., n)
    below = negatives.cumsum(-1) - negatives / 2
    return (positives * below).sum(-1) / (positives.sum(-1) * negatives.sum(-1))


class Ranking(NamedTuple):
    """Per class, in float64: average precision (C,), NaN without positives, and ROC AUC (C,), NaN without either."""

    average_precision: Tensor
    roc_auc: Tensor


class ClassRanking(Metric):
    """Average precision and ROC AUC of every class, each against all others.

    Exact, keeping all scores on the CPU (N x C floats), or in bins, keeping 16 bytes a bin and class whatever the
    number of images. One sort of a class's scores serves both measures, and a class without positives is NaN where
    torchmetrics' metrics count it as 0.

    Args:
        classes: C.
        bins: number of bins of the log-odds from -16 to 16; exact if not given. With 2048 a bin is 1/64 wide.
        options: torchmetrics' own.

    Example:
        >>> ranking = ClassRanking(2)
        >>> ranking.update(torch.tensor([[2.0, -2.0], [1.0, -1.0], [-1.0, 1.0]]), torch.tensor([0, 1, 0]))
        >>> ranking.compute().roc_auc
        tensor([0.5000, 0.5000], dtype=torch.float64)

    """

    full_state_update = False
    scores: list[Tensor] | Tensor  # torchmetrics joins lists where there are several processes
    targets: list[Tensor] | Tensor
    counts: Tensor

    def __init__(self, classes: int, bins: int | None = None, **options: Unpack[MetricOptions]) -> None:
        super().__init__(compute_on_cpu=bins is None, **options)
        if bins is not None and bins < 2:
            raise ValueError(f"bins must be at least 2, or None; got {bins}")
        self.classes, self.bins = classes, bins
        if bins is None:
            self.add_state("scores", [], "cat")
            self.add_state("targets", [], "cat")
        else:
            self.add_state("counts", torch.zeros(classes, 2, bins, dtype=torch.int64), "sum")

    def update(self, scores: Tensor, targets: Tensor) -> None:
        """Rank more images.

        Args:
            scores: log-odds (B, C); see `log_odds`.
            targets: class indices (B,), or multi-hot (B, C), where an entry below 0 is unknown and left out.
        """
        if self.bins is None:
            self.scores, self.targets = [*self.scores, scores], [*self.targets, targets]
            return
        shares = (scores.double().nan_to_num(0).clamp(-_RANGE, _RANGE) + _RANGE) / (2 * _RANGE)
        places = (shares * self.bins).long().clamp(max=self.bins - 1)  # (B, C)
        rows = 2 * torch.arange(self.classes, device=scores.device) + _positives(targets, self.classes)
        cells = rows * self.bins + places
        cells = cells[targets >= 0] if targets.ndim == 2 else cells.flatten()
        flat = cells.bincount(minlength=self.counts.numel())
        self.counts += flat.view_as(self.counts)

    def compute(self) -> Ranking:
        """Compute the result over all images so far, in all processes."""
        if self.bins is not None:
            return Ranking(histogram_average_precision(self.counts), histogram_roc_auc(self.counts))
        scores, targets = (_joined(state) for state in (self.scores, self.targets))
        found = torch.full((2, self.classes), torch.nan, dtype=torch.float64)
        for label in range(self.classes if len(scores) else 0):
            positive = targets[:, label] > 0.5 if targets.ndim == 2 else targets == label
            known = targets[:, label] >= 0 if targets.ndim == 2 else slice(None)
            if not len(positive[known]):
                continue
            counts = _distinct(scores[known, label], positive[known])
            found[:, label] = torch.stack([histogram_average_precision(counts), histogram_roc_auc(counts)])
        return Ranking(*found.unbind())


def _joined(state: list[Tensor] | Tensor) -> Tensor:
    return state if isinstance(state, Tensor) else torch.cat(state) if state else torch.empty(0)


def _positives(targets: Tensor, classes: int) -> Tensor:
    """Return whether each image (B,) is of each class, (B, C) in 0 and 1."""
    return (targets > 0.5).long() if targets.ndim == 2 else torch.nn.functional.one_hot(targets, classes)


def _distinct(scores: Tensor, positive: Tensor) -> Tensor:
    """Count (2, U) negatives and positives at each of U distinct scores, from lowest to highest."""
    values, place = scores.unique(return_inverse=True)
    return (positive.long() * len(values) + place).bincount(minlength=2 * len(values)).view(2, -1)
