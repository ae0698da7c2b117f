"""A weight that rises over the first training steps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from looksharp.objectives.base import Forward

__all__ = ["WarmUp"]


class WarmUp(nn.Module):
    """A factor that rises linearly from 0 to 1 over the first `steps` training steps; 1 always if 0 steps.

    A module, so that the steps done are saved with a checkpoint.

    Args:
        steps: number of training steps, at least 0.

    Raises:
        ValueError: if `steps` is negative.
    """

    done: Tensor

    def __init__(self, steps: int) -> None:
        super().__init__()
        if steps < 0:
            raise ValueError(f"warmup must be a number of steps >= 0; got {steps}")
        self.steps = steps
        self.register_buffer("done", torch.zeros((), dtype=torch.long))

    def forward(self, forward: Forward) -> float | Tensor:
        """Return the factor of this step, and count it if it trains."""
        if self.steps == 0:
            return 1.0
        factor = (self.done / self.steps).clamp(max=1.0)
        if forward.model.training and forward.differentiable:
            self.done += 1
        return factor
