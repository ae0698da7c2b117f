"""RISE."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn
from torch.nn import functional as F

from looksharp.attention.mechanisms.base import IMAGE, MECHANISMS, ModelMechanism
from looksharp.attention.mechanisms.scoring import Score, scores_of
from looksharp.attention.rerun import chunks, run_in_chunks
from looksharp.settings import settings

__all__ = ["Rise", "random_masks"]


@MECHANISMS.register("rise")
@settings
class Rise(ModelMechanism):
    """Average random masks, each weighted by the class's score of the image seen through it, RISE.

    Petsiuk et al. 2018, "RISE: Randomized Input Sampling for Explanation of Black-box Models", Eq. 6 and Sec. 3.2:
    S = 1 / (p N) sum_i f(I * M_i) M_i, with N smooth masks of which p is let through. The mean score is subtracted from
    each f, so that the map is the change of the score where a pixel is known to be seen: it is below 0 where that
    speaks against the class, and errs less. Stretched to [0, 1] it is the paper's. Every image gets the same masks.

    Args:
        masks: N; the paper takes 4000 for VGG and 8000 for ResNet.
        cell: cells along each side of the coarse masks.
        keep: p, the share of cells that is let through.
        score: the class's probability, as in the paper, or its logit; take the logit for multi-label networks.
        seed: seed of the masks.
    """

    layered = False

    masks: Annotated[int, Ge(2)] = 4000
    cell: Annotated[int, Ge(1)] = 7
    keep: Annotated[float, Gt(0), Lt(1)] = 0.5
    score: Score = "probability"
    seed: Annotated[int, Ge(0)] = 0

    def maps(self, model: nn.Module, images: Tensor, classes: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Run each image once for every mask; see `ModelMechanism.maps`.

        Raises:
            ValueError: if the model is in training mode.
        """
        size, generator = (images.shape[-2], images.shape[-1]), torch.Generator().manual_seed(self.seed)
        drawn = _draw(self.masks, size, self.cell, self.keep, generator)
        precise = torch.float64 if images.dtype == torch.float64 else torch.float32
        seen = images.new_zeros(size, dtype=precise)
        weighted, total = seen.new_zeros(*classes.shape, *size), seen.new_zeros(classes.shape)
        for places in chunks(self.masks, images):
            masks = drawn.masks(places).to(seen)  # (n, H, W)
            seen += masks.sum(0)
            for index, image in enumerate(images):
                logits = run_in_chunks(model, image * masks.unsqueeze(1).to(image.dtype))
                scores = scores_of(logits, classes[index], self.score).to(precise)  # (n, K)
                weighted[index] += torch.einsum("nk,nhw->khw", scores, masks)
                total[index] += scores.sum(0)
        mean = total[..., None, None] / self.masks
        return {IMAGE: (weighted - mean * seen) / (self.masks * self.keep)}


@dataclass(frozen=True)
class _Drawn:
    """Draws of smooth masks: coarse grids (N, 1, cell, cell), and where each is cut from its enlargement, (N,)."""

    size: tuple[int, int]
    grids: Tensor
    rows: Tensor
    columns: Tensor

    def masks(self, places: Tensor) -> Tensor:
        """Return the masks (n, H, W) at these places."""
        chosen, cell = places.cpu(), self.grids.shape[-1]
        height, width = _cells(self.size, cell)
        enlarged = ((cell + 1) * height, (cell + 1) * width)
        large = F.interpolate(self.grids[chosen], enlarged, mode="bilinear", align_corners=False).clamp_(max=1)
        corners = zip(large, self.rows[chosen].tolist(), self.columns[chosen].tolist(), strict=True)
        return torch.stack([mask[0, r : r + self.size[0], c : c + self.size[1]] for mask, r, c in corners])


def _cells(size: tuple[int, int], cell: int) -> tuple[int, int]:
    """Return height and width of a cell in pixels."""
    return math.ceil(size[0] / cell), math.ceil(size[1] / cell)


def _draw(count: int, size: tuple[int, int], cell: int, keep: float, generator: torch.Generator) -> _Drawn:
    height, width = _cells(size, cell)
    grids = (torch.rand(count, 1, cell, cell, generator=generator) < keep).float()
    rows = torch.randint(height, (count,), generator=generator)
    return _Drawn(size, grids, rows, torch.randint(width, (count,), generator=generator))


def random_masks(count: int, size: tuple[int, int], cell: int, keep: float, generator: torch.Generator) -> Tensor:
    """Draw smooth masks (count, H, W) in [0, 1]: coarse random grids, enlarged bilinearly and shifted at random.

    Args:
        count: number of masks.
        size: height and width in pixels.
        cell: cells along each side of a grid.
        keep: probability that a cell is 1.
        generator: source of randomness, on the CPU.
    """
    return _draw(count, size, cell, keep, generator).masks(torch.arange(count))
