"""Measure how well probabilities match the true classes."""

from __future__ import annotations

from typing import NamedTuple, Unpack

import torch
from torch import Tensor
from torchmetrics import Metric

from looksharp.metrics.grouped import MetricOptions

__all__ = ["Calibration", "CalibrationError", "log_odds"]


def log_odds(logits: Tensor, multilabel: bool) -> Tensor:
    """Compute log-odds of every class: log p - log (1 - p), whose order is that of the probabilities.

    Unlike probabilities in float32, they distinguish predictions that are nearly certain.

    Args:
        logits: (B, C).
        multilabel: take p as the sigmoid of the class's logit, and not its softmax.

    Returns:
        (B, C) in float32; infinite if there is no other class.

    Example:
        >>> log_odds(torch.tensor([[0.0, 0.0, 0.0, 30.0]]), multilabel=False)
        tensor([[-30.0000, -30.0000, -30.0000,  28.9014]])

    """
    if multilabel:
        return logits.float()
    scores = logits.double()
    logs = scores.log_softmax(1)
    best, place = scores.max(1, keepdim=True)
    # Of a p near 1 the rest is summed, since 1 - p would leave few digits.
    rest = scores.scatter(1, place, -torch.inf).logsumexp(1, keepdim=True)
    return (logs - (-logs.expm1()).log()).scatter(1, place, best - rest).float()


class Calibration(NamedTuple):
    """A reliability diagram and its summary.

    Attributes:
        error: () expected calibration error in [0, 1]; NaN without predictions.
        confidence: (bins,) mean confidence of the predictions in each bin; NaN where there is none.
        accuracy: (bins,) share of them that are right.
        predictions: (bins,) number of predictions.
    """

    error: Tensor
    confidence: Tensor
    accuracy: Tensor
    predictions: Tensor


class CalibrationError(Metric):
    """Expected calibration error: the mean distance of confidence and accuracy over bins of equal width.

    Guo et al. 2017, "On Calibration of Modern Neural Networks", Eq. 3. torchmetrics' metric of this name gives the
    same, but keeps every prediction; here only sums are kept.

    Args:
        bins: number of bins of confidence in [0, 1]; each but the last includes its lower edge.
        options: torchmetrics' own.

    Example:
        >>> calibration = CalibrationError()
        >>> calibration.update(torch.tensor([0.9, 0.9, 0.9, 0.9]), torch.tensor([True, True, True, False]))
        >>> calibration.compute().error
        tensor(0.1500, dtype=torch.float64)

    """

    full_state_update = False
    sums: Tensor

    def __init__(self, bins: int = 15, **options: Unpack[MetricOptions]) -> None:
        super().__init__(**options)
        if bins < 1:
            raise ValueError(f"bins must be at least 1; got {bins}")
        self.bins = bins
        self.add_state("sums", torch.zeros(3, bins, dtype=torch.float64), "sum")  # of confidence, right ones, all

    def update(self, confidence: Tensor, right: Tensor) -> None:
        """Count predictions.

        Args:
            confidence: (N,) in [0, 1].
            right: (N,) True for each prediction that is right.
        """
        edges = torch.linspace(0, 1, self.bins + 1, device=confidence.device)
        places = (torch.bucketize(confidence, edges, right=True) - 1).clamp(0, self.bins - 1)
        values = torch.stack([confidence.double(), right.double(), torch.ones_like(confidence, dtype=torch.float64)])
        self.sums.index_add_(1, places, values)

    def compute(self) -> Calibration:
        """Compute the result over all predictions so far, in all processes."""
        confident, right, count = self.sums.unbind()
        return Calibration(
            (confident - right).abs().sum() / count.sum(), confident / count, right / count, count.long()
        )
