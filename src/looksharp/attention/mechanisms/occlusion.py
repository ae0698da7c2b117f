"""Occlusion of the input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor, nn

from looksharp.attention.mechanisms.base import IMAGE, MECHANISMS, Answered, SinglePass
from looksharp.attention.rerun import chunks, run_in_chunks
from looksharp.settings import settings

__all__ = ["Occlusion"]


@MECHANISMS.register("occlusion")
@settings
class Occlusion(SinglePass):
    """Cover a window of the image at a time, and map how far the class's score falls.

    Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks", Sec. 4.2. A pixel's value is the
    mean, over the windows that cover it, of the score without a window minus the score with it, as captum's `Occlusion`
    gives it. Costs a forward for each window. The last window of a row or column may be cut by the border.

    Args:
        window: side of the square window in pixels; an eighth of the image's shorter side if not given.
        stride: step of the window in pixels; half a window if not given.
        fill: value of covered pixels, in the model's input: 0 is the mean colour of normalised images.
    """

    layered = False

    window: Annotated[int, Ge(1)] | None = None
    stride: Annotated[int, Ge(1)] | None = None
    fill: float = 0.0

    def answered(self, model: nn.Module, images: Tensor, layers: Sequence[str]) -> Answered:
        """Run each image once, and again for every window; see `ModelMechanism.maps`.

        Raises:
            ValueError: if the stride leaves gaps between windows, or the model is in training mode.
        """
        side = self.window or max(min(images.shape[-2:]) // 8, 1)
        stride = self.stride or max(side // 2, 1)
        if stride > side:
            raise ValueError(f"occlusion.stride must be at most the window's {side} px, or gaps remain; got {stride}")
        logits = run_in_chunks(model, images)
        return Answered(logits, lambda classes: {IMAGE: self._falls(model, images, logits, classes, side, stride)})

    def _falls(
        self, model: nn.Module, images: Tensor, logits: Tensor, classes: Tensor, side: int, stride: int
    ) -> Tensor:
        """Return the mean fall (B, K, H, W) of the scores of classes (B, K) in logits (B, C)."""
        height, width = images.shape[-2:]
        places = torch.cartesian_prod(_starts(height, side, stride), _starts(width, side, stride)).to(images.device)
        whole = logits.gather(1, classes)  # (B, K)
        falls = whole.new_empty(*classes.shape, len(places))
        for window, image in ((w, i) for w in chunks(len(places), images) for i in range(len(images))):
            covered = (
                images[image]
                .repeat(len(window), 1, 1, 1)
                .masked_fill_(_covered(places[window], side, height, width), self.fill)
            )
            scores = run_in_chunks(model, covered)[:, classes[image]]  # (n, K)
            falls[image, :, window] = whole[image].unsqueeze(1) - scores.T
        total, count = whole.new_zeros(*classes.shape, height, width), whole.new_zeros(height, width)
        for index, (row, column) in enumerate(places.tolist()):
            total[..., row : row + side, column : column + side] += falls[..., index, None, None]
            count[row : row + side, column : column + side] += 1
        return total / count


def _covered(corners: Tensor, side: int, height: int, width: int) -> Tensor:
    """Return masks (n, 1, height, width), True in the windows at these corners (n, 2)."""
    rows = torch.arange(height, device=corners.device) - corners[:, :1]  # (n, height)
    columns = torch.arange(width, device=corners.device) - corners[:, 1:]
    inside = ((rows >= 0) & (rows < side)).unsqueeze(2) & ((columns >= 0) & (columns < side)).unsqueeze(1)
    return inside.unsqueeze(1)


def _starts(length: int, side: int, stride: int) -> Tensor:
    """Return where windows begin: the last one reaches the end, or is cut by it."""
    return torch.arange(0, max(length - side, 0) + stride, stride)
