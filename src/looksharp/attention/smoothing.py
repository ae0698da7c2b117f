"""Maps averaged over mirrored and scaled copies of an image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from looksharp.attention.precision import at_least_float32

__all__ = ["COPIES", "Copy", "average_over_copies"]


@dataclass(frozen=True)
class Copy:
    """One way to change an image, and to lay the copy's map back on the image.

    Attributes:
        mirrored: left and right are exchanged.
        scale: magnification about the centre, on a canvas of the same size. What a copy shows beyond the image's
            border is its reflection, so that no edge appears.

    """

    mirrored: bool = False
    scale: float = 1.0

    def of(self, images: Tensor) -> Tensor:
        """Return copies of images (B, C, H, W)."""
        turned = images.flip(-1) if self.mirrored else images
        return _zoomed(turned, self.scale, "reflection") if self.scale != 1 else turned

    def back(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the copy's maps (B, K, h, w) on the image, and the share (h, w) of each position that it shows."""
        shown = maps.new_ones(1, 1, *maps.shape[-2:])
        if self.scale != 1:
            maps, shown = (_zoomed(each, 1 / self.scale, "zeros") for each in (maps, shown))
        return maps.flip(-1) if self.mirrored else maps, shown[0, 0]


COPIES = tuple(Copy(mirrored, scale) for mirrored in (False, True) for scale in (1.0, 0.9, 1.1))
"""The image itself first, then five copies of it."""


def average_over_copies(images: Tensor, explain: Callable[[Tensor], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Average raw maps over `COPIES`, each position over those that show it.

    As pytorch-grad-cam's `aug_smooth` and its six copies, which however multiplies pixel values by 0.9 and 1.1 where
    these are sizes, and stretches each map to [0, 1] before it averages.

    Args:
        images: (B, C, H, W).
        explain: makes maps (B, K, h, w) by name of a batch of copies.
    """
    sums: dict[str, Tensor] = {}
    counts: dict[str, Tensor] = {}
    for copy in COPIES:
        for name, maps in explain(copy.of(images)).items():
            placed, shown = copy.back(maps)
            sums[name] = sums[name] + placed if name in sums else placed
            counts[name] = counts[name] + shown if name in counts else shown
    return {name: sums[name] / counts[name] for name in sums}


def _zoomed(images: Tensor, scale: float, beyond: str) -> Tensor:
    """Magnify images (B, C, H, W) about their centre, bilinearly, on a canvas of the same size."""
    precise = at_least_float32(images)
    matrix = precise.new_tensor([[1 / scale, 0, 0], [0, 1 / scale, 0]]).expand(len(images), -1, -1)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(precise, grid, "bilinear", beyond, align_corners=False).to(images.dtype)
