"""The classification loss: the baseline alone, and a term of every other part that classifies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Lt
from torch import Tensor, nn
from torch.nn import functional as F

from looksharp.batch import Batch
from looksharp.objectives.base import PARTS, Forward, Part, Term

__all__ = ["Classification", "Smoothing", "classification_loss"]

Smoothing = Annotated[float, Ge(0), Lt(1)]
"""A share of the target that is spread over all classes."""


def classification_loss(
    logits: Tensor, batch: Batch, label_smoothing: float = 0.0, reduction: Literal["mean", "none"] = "mean"
) -> Tensor:
    """Compute cross-entropy for class indices, multi-label soft margin loss for multi-hot targets.

    ICASC Sec. 3.4, L_C; GAIN Sec. 3.1, L_cl. Multi-hot targets below 0 are unknown: an image's loss is the mean over
    its known classes, and 0 if there are none.

    Args:
        logits: (B, classes).
        batch: the batch, whose targets are read.
        label_smoothing: share of the target spread over all classes; for class indices only.
        reduction: "mean" over the batch, or "none".

    Returns:
        Scalar, or (B,) if not reduced.

    Raises:
        ValueError: if a class index is out of range, multi-hot targets are of another width than the logits, or
            `label_smoothing` is no share.
    """
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing must be at least 0 and below 1; got {label_smoothing:g}")
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))  # as autocast does
    classes = logits.shape[1]
    if batch.multilabel:
        if batch.target.shape != logits.shape:
            raise ValueError(f"multi-hot targets must be {tuple(logits.shape)}; got {tuple(batch.target.shape)}")
        known = batch.target >= 0
        each = F.binary_cross_entropy_with_logits(logits, batch.target.to(logits.dtype), reduction="none") * known
        losses = each.sum(1) / known.sum(1).clamp(min=1)  # (B,)
        return losses.mean() if reduction == "mean" else losses
    # On an accelerator the check would wait for the device; the loss itself stops there.
    if batch.target.device.type == "cpu" and not 0 <= int(batch.target.min()) <= int(batch.target.max()) < classes:
        low, high = int(batch.target.min()), int(batch.target.max())
        raise ValueError(f"targets must be 0 to {classes - 1} for {classes} logits; got {low} to {high}")
    return F.cross_entropy(logits, batch.target, label_smoothing=label_smoothing, reduction=reduction)


@PARTS.register("classification")
@dataclass(eq=False)
class Classification(Part):
    """Plain training: the term "classification", see `classification_loss`.

    Args:
        label_smoothing: share of the target spread over all classes; off by default.
    """

    classifies = True

    label_smoothing: Smoothing = 0.0

    def recorded(self, model: nn.Module, batch: Batch) -> tuple[str, ...]:
        """Return no layers."""
        return ()

    def terms(self, forward: Forward) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """Return the loss on the targets."""
        return {"classification": Term(classification_loss(forward.logits, forward.batch, self.label_smoothing))}, {}
