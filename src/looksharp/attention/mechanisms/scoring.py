"""Scores of classes, by which mechanisms that run the model again weigh what they changed."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

__all__ = ["Score", "rows_of", "scores_of"]

Score = Literal["logit", "probability"]
"""A class's score: its logit, or its probability among the classes."""


def scores_of(logits: Tensor, classes: Tensor, score: Score = "logit") -> Tensor:
    """Return the scores (..., K) of classes (K,) in logits (..., C)."""
    return (logits.softmax(-1) if score == "probability" else logits)[..., classes]


def rows_of(classes: Tensor) -> Tensor:
    """Return the image (B, 1) of each of the classes (B, K), to index with them."""
    return torch.arange(len(classes), device=classes.device).unsqueeze(1)
