"""The classification loss alone: the baseline, and the first term of every other objective."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from looksharp.batch import Batch
from looksharp.objectives.base import Objective, Step
from looksharp.recording import logits_of

__all__ = ["Classification", "classification_loss"]


def classification_loss(logits: Tensor, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy for class indices, multi-label soft margin loss for multi-hot targets.

    ICASC Sec. 3.4, L_C; GAIN Sec. 3.1, L_cl.

    Args:
        logits: (B, classes).
        batch: its targets are used.
        label_smoothing: share of the target spread over all classes; for class indices only.

    Returns:
        Scalar, the mean over the batch.

    Raises:
        ValueError: if multi-hot targets have another number of classes than the logits.

    """
    if not batch.multilabel:
        return F.cross_entropy(logits, batch.target, label_smoothing=label_smoothing)
    if batch.target.shape != logits.shape:
        raise ValueError(f"multi-hot targets must be {tuple(logits.shape)}; got {tuple(batch.target.shape)}")
    return F.multilabel_soft_margin_loss(logits, batch.target.to(logits.dtype))


class Classification(Objective):
    """Plain training.

    Args:
        label_smoothing: share of the target spread over all classes; off by default.

    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def step(self, model: nn.Module, batch: Batch) -> Step:
        """One forward and its classification loss."""
        logits = logits_of(model(batch.image))
        loss = classification_loss(logits, batch, self.label_smoothing)
        return Step(loss, logits, {"classification": loss.detach()})
