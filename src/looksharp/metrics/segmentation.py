"""Mean intersection over union of segmentations, from their confusion matrix."""

from __future__ import annotations

from typing import NamedTuple, Unpack

import torch
from torch import Tensor
from torchmetrics import Metric

from looksharp.metrics.grouped import MetricOptions

__all__ = ["MeanIoU", "SegmentationScores", "pixel_confusion", "segmentation_scores"]


class SegmentationScores(NamedTuple):
    """Scores of a segmentation, read off a confusion matrix.

    Attributes:
        mean: () mean of `iou` over the classes that have one; NaN if none has.
        iou: (C,) intersection over union of each class; NaN for a class neither there nor predicted.
        precision: (C,) share of a class's predicted pixels that are of it; NaN if none is predicted.
        recall: (C,) share of a class's pixels that are predicted to be of it; NaN if it has none.
    """

    mean: Tensor
    iou: Tensor
    precision: Tensor
    recall: Tensor


def pixel_confusion(predicted: Tensor, truth: Tensor, classes: int, unknown: int = 255) -> Tensor:
    """Count pixels by their true and their predicted class.

    Args:
        predicted: (...) class indices; `unknown` is a prediction of no class.
        truth: (...) class indices; pixels that are `unknown` are not counted.
        classes: number of classes, the background counted.
        unknown: index of unknown pixels.

    Returns:
        (classes, classes + 1) true class by predicted one; the last column is of no class.

    Raises:
        ValueError: if shapes differ, or an index is of no class.

    Example:
        >>> pixel_confusion(torch.tensor([0, 1, 1, 255]), torch.tensor([0, 1, 0, 1]), 2)
        tensor([[1, 1, 0],
                [0, 1, 1]])

    """
    if predicted.shape != truth.shape:
        raise ValueError(
            f"predicted and truth must be of one shape; got {tuple(predicted.shape)}, {tuple(truth.shape)}"
        )
    known = truth != unknown
    rows, columns = truth[known].long(), predicted[known].long()
    columns = torch.where(columns == unknown, classes, columns)
    if rows.numel() and (int(rows.max()) >= classes or int(columns.max()) > classes):
        raise ValueError(f"indices must be 0 to {classes - 1} or {unknown}; got {int(max(rows.max(), columns.max()))}")
    return (rows * (classes + 1) + columns).bincount(minlength=classes * (classes + 1)).view(classes, classes + 1)


def segmentation_scores(confusion: Tensor) -> SegmentationScores:
    """Compute intersection over union, precision and recall of each class.

    VOC's measure (Everingham et al. 2010): of a class, the pixels that are both true and predicted, over those that are
    either, counted over all images.

    Args:
        confusion: (C, C + 1), see `pixel_confusion`.
    """
    counts = confusion.double()
    both, true, predicted = counts.diagonal(), counts.sum(1), counts.sum(0)[:-1]
    iou = both / (true + predicted - both)  # 0 / 0 is NaN
    return SegmentationScores(iou.nanmean(), iou, both / predicted, both / true)


class MeanIoU(Metric):
    """Scores of segmentations over a data set; only a confusion matrix is kept, in all processes.

    Args:
        classes: number of classes, the background counted.
        unknown: index of pixels that do not count.
        options: torchmetrics' own.

    Example:
        >>> score = MeanIoU(2)
        >>> score.update(torch.tensor([[0, 1], [1, 1]]), torch.tensor([[0, 1], [0, 255]]))
        >>> score.compute().mean
        tensor(0.5000, dtype=torch.float64)

    """

    full_state_update = False
    confusion: Tensor

    def __init__(self, classes: int, unknown: int = 255, **options: Unpack[MetricOptions]) -> None:
        super().__init__(**options)
        if classes < 1:
            raise ValueError(f"classes must be at least 1; got {classes}")
        self.classes, self.unknown = classes, unknown
        self.add_state("confusion", torch.zeros(classes, classes + 1, dtype=torch.int64), "sum")

    def update(self, predicted: Tensor, truth: Tensor) -> None:
        """Count the pixels of a batch; see `pixel_confusion`."""
        self.confusion += pixel_confusion(predicted, truth, self.classes, self.unknown)

    def compute(self) -> SegmentationScores:
        """Compute the scores over all pixels so far, in all processes."""
        return segmentation_scores(self.confusion)
