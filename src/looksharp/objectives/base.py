"""What every objective is: `objective(model, batch) -> Step`. It owns no network and works in anybody's loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from looksharp.batch import Batch, as_batch

__all__ = ["Objective", "Step", "WarmUp"]


@dataclass(frozen=True)
class Step:
    """One training step's result.

    Attributes:
        loss: scalar to call `backward` on.
        logits: (B, classes), part of the graph.
        terms: name -> detached scalar, each before its weight.
        maps: name -> detached maps (B, K, h, w) that the step computed on the way.

    """

    loss: Tensor
    logits: Tensor
    terms: dict[str, Tensor] = field(default_factory=dict)
    maps: dict[str, Tensor] = field(default_factory=dict)


class Objective(nn.Module, ABC):
    """Base of all objectives. A module only so that a schedule's counter is saved with a checkpoint."""

    def forward(self, model: nn.Module, batch: Batch | Mapping[str, Tensor] | Sequence[Tensor]) -> Step:
        """Run `model` on the batch and return the step; never touches `.grad`, modes or buffers itself."""
        return self.step(model, as_batch(batch))

    @abstractmethod
    def step(self, model: nn.Module, batch: Batch) -> Step:
        """What an objective defines."""


class WarmUp(nn.Module):
    """A factor that rises linearly from 0 to 1 over the first `steps` training steps; 1 always if 0 steps."""

    done: Tensor

    def __init__(self, steps: int) -> None:
        super().__init__()
        if steps < 0:
            raise ValueError(f"warmup must be a number of steps >= 0; got {steps}")
        self.steps = steps
        self.register_buffer("done", torch.zeros((), dtype=torch.long))

    def forward(self, training: bool) -> float | Tensor:
        """The factor of this step; counts the step if `training`."""
        if self.steps == 0:
            return 1.0
        factor = (self.done / self.steps).clamp(max=1.0)
        if training:
            self.done += 1
        return factor
