"""Integrated Gradients at the input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge
from torch import Tensor, nn

from looksharp.attention.input_gradients import copies_gradients
from looksharp.attention.mechanisms.base import IMAGE, MECHANISMS, ModelMechanism
from looksharp.attention.precision import at_least_float32
from looksharp.attention.rerun import chunks
from looksharp.settings import settings

__all__ = ["IntegratedGradients"]


@MECHANISMS.register("integrated_gradients")
@settings
class IntegratedGradients(ModelMechanism):
    """Share out the score's change from a baseline to the image among pixels, by gradients on the way.

    Sundararajan et al. 2017, "Axiomatic Attribution for Deep Networks", Eq. 1: (x - x') times the integral of the
    gradient along the straight line from the baseline x' to the image x, summed over colour channels. The map's sum is
    the difference of both scores. The integral is taken by Gauss-Legendre quadrature, as captum does by default.

    Args:
        steps: points on the line.
        fill: value of all the baseline's pixels, in the model's input: 0 is the mean colour of normalised images.
    """

    layered = False

    steps: Annotated[int, Ge(1)] = 50
    fill: float = 0.0

    def maps(self, model: nn.Module, images: Tensor, classes: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Run a forward, and a backward for each class, at every step; see `ModelMechanism.maps`.

        Raises:
            ValueError: if the model is in training mode.
        """
        points, weights = np.polynomial.legendre.leggauss(self.steps)
        precise = torch.float64 if images.dtype == torch.float64 else torch.float32
        along, share = (
            torch.from_numpy(each).to(precise).to(images.device) for each in ((1 + points) / 2, weights / 2)
        )
        change = images - self.fill
        total = torch.zeros((), device=images.device)
        for places in chunks(self.steps, images, even=True):
            way = along[places].view(-1, 1, 1, 1).to(images.dtype)

            def between(some: Tensor, way: Tensor = way) -> Tensor:
                return self.fill + way * change[some].unsqueeze(1)

            total = total + copies_gradients(model, images, classes, between, share[places])
        return {IMAGE: (total * at_least_float32(change).unsqueeze(1)).sum(2)}
