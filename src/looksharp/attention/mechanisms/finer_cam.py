"""Finer-CAM."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor
from torch.nn import functional as F

from looksharp.attention.mechanisms.base import MECHANISMS
from looksharp.attention.mechanisms.weighting import SPATIAL, weighted_sum
from looksharp.settings import settings

__all__ = ["FinerCAM"]


@MECHANISMS.register("finer_cam")
@settings
class FinerCAM:
    """Compute Finer-CAM: Grad-CAM of a class's score less those of the classes most like it.

    Zhang et al. 2025, "Finer-CAM: Spotting the Difference Reveals Finer Details for Visual Explanation", Eq. 4 and 5:
    the score is y_c - alpha / T sum_t y_dt, over the T classes whose logits lie closest to that of c. With `against`
    and alpha 1 it is the difference of one pair, as of ICASC's true and confused classes. The authors' code, which
    pytorch-grad-cam has too, weights the classes by their probabilities in place of 1 / T, and differentiates those
    weights.

    Args:
        alpha: weight of the other classes.
        references: T, the number of other classes; fewer where there are no more.
        against: index of the one other class. Its own map is against the classes most like it.
    """

    alpha: Annotated[float, Ge(0)] = 0.6
    references: Annotated[int, Ge(1)] = 3
    against: Annotated[int, Ge(0)] | None = None

    def __call__(self, features: Tensor, gradients: Tensor) -> Tensor:
        """Weight features (B, C, h, w) as Grad-CAM does; see `Contrast` for what the gradients are of."""
        return weighted_sum(features, gradients.mean(SPATIAL))

    def cotangents(self, logits: Tensor, classes: Tensor) -> Tensor:
        """Return the weights (B, K, C) of the logits: 1 for the class, -alpha / T for each reference.

        Raises:
            ValueError: if there is one class alone, or `against` is none of them.
        """
        count = logits.shape[1]
        if count < 2 or (self.against is not None and self.against >= count):
            need = "two classes or more" if count < 2 else f"a class from 0 to {count - 1} to be against"
            raise ValueError(f"mechanism 'finer_cam' needs {need}; got {count if count < 2 else self.against}")
        own = F.one_hot(classes, count).to(logits.dtype)  # (B, K, C)
        distance = (logits.unsqueeze(1) - logits.gather(1, classes).unsqueeze(2)).abs()
        distance = distance.masked_fill(own.bool(), torch.inf)
        number = min(self.references, count - 1)
        nearest = distance.topk(number, largest=False).indices  # (B, K, T)
        others = torch.zeros_like(own).scatter_(2, nearest, 1 / number)
        if self.against is not None:
            one = F.one_hot(torch.full_like(classes, self.against), count).to(logits.dtype)
            others = torch.where((classes == self.against).unsqueeze(2), others, one)
        return own - self.alpha * others
