"""Noisy linear imputation: removed pixels become the weighted mean of their neighbours, removed or not."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["noisy_linear_imputation"]

_ITERATIONS = 500  # some 10 are usual, 100 where a long strip has one pixel left
_CACHED = 2**18  # numbers


def noisy_linear_imputation(
    images: Tensor, removed: Tensor, *, noise: float = 0.01, tolerance: float = 1e-3, seed: int = 0
) -> Tensor:
    """Fill removed pixels from their neighbours, so that neither colour nor outline shows that they are gone.

    Rong et al. 2022, "A Consistent and Efficient Evaluation Strategy for Attribution Methods": each removed
    pixel equals the mean of its neighbours, weights 1/6 for those beside it and 1/12 for those at its corners, scaled
    to a sum of 1 at the border of the image; then noise. The authors solve the sparse linear system of one image
    after the other; here conjugate gradients solve all of them at once, preconditioned by a multigrid cycle.

    Args:
        images: (N, C, H, W).
        removed: (N, H, W) bool. Each image must keep at least one pixel.
        noise: standard deviation of the normal noise on removed pixels, in the units of the images.
        tolerance: largest error of a pixel of the solution, in the units of the images, as the multigrid cycle
            estimates it. The estimate may be some 5 times too low, and 200 times where a strip of 200 px keeps one
            pixel.
        seed: seed of the noise, one field for every image, so that values depend on no other image.

    Returns:
        (N, C, H, W), equal to the images where nothing is removed.

    Raises:
        ValueError: if there is not one mask for each image, all of an image is removed, or the solution does not come
            within the tolerance.

    Example:
        >>> images, removed = torch.tensor([[[[0.0, 5, 9, 6]]]]), torch.tensor([[[False, True, True, False]]])
        >>> noisy_linear_imputation(images, removed, noise=0, tolerance=1e-5)
        tensor([[[[0., 2., 4., 6.]]]])

    """
    if images.ndim != 4 or removed.shape != (len(images), *images.shape[-2:]) or removed.dtype != torch.bool:
        raise ValueError(
            f"removed must be bool and one for each image, images (N, C, H, W) and removed (N, H, W); got images "
            f"{tuple(images.shape)} and removed {str(removed.dtype).removeprefix('torch.')} {tuple(removed.shape)}"
        )
    if removed.flatten(1).all(1).any():
        raise ValueError("removed must leave a pixel at least of each image; got an image without any")
    dtype = torch.promote_types(images.dtype, torch.float32)
    unknown = removed.unsqueeze(1)
    known = images.to(dtype).masked_fill(unknown, 0)
    # All at once on an accelerator; on a CPU as many as its cache holds, which nearly halves the time.
    chunk = max(_CACHED // images.shape[1:].numel() if images.device.type == "cpu" else len(images), 1)
    pairs = zip(known.split(chunk), unknown.to(dtype).split(chunk), strict=True)
    filled = torch.cat([_solve(*pair, tolerance) for pair in pairs])
    field = torch.randn(images.shape[1:], generator=torch.Generator().manual_seed(seed), dtype=torch.float32)
    return torch.where(unknown, (filled + noise * field.to(filled)).to(images.dtype), images)


def _solve(known: Tensor, unknown: Tensor, tolerance: float) -> Tensor:
    """Fill in pixels (N, C, H, W) where `unknown` (N, 1, H, W) is 1; they come as zeros."""
    grids = _grids(unknown)
    solution, (mask, weight) = known, grids[0]
    rounding = torch.finfo(known.dtype).eps * known.abs().amax((1, 2, 3), keepdim=True)
    allowed = rounding.clamp(min=tolerance)  # (N, 1, 1, 1): below it there is nothing to reach
    residual = mask * torch.sub(_gather(solution), solution, alpha=4)
    error = _cycle(residual, grids)  # estimates solution - exact, but for its sign
    direction, product = error, _dot(residual, error)
    for _ in range(_ITERATIONS):
        # A solved system rests while others go on, so that its solution does not depend on them.
        active = error.abs().amax((-2, -1), keepdim=True) > allowed  # (N, C, 1, 1)
        if not active.any():
            return solution
        image = mask * (weight * direction - _gather(direction))
        step = torch.where(active, product / _dot(direction, image), 0)
        solution = solution + step * direction
        residual = residual - step * image
        error = _cycle(residual, grids)
        product, previous = _dot(residual, error), product
        direction = error + torch.where(active, product / previous, 0) * direction
    raise ValueError(f"tolerance {tolerance} must be larger: it is not reached in {_ITERATIONS} iterations")


def _gather(values: Tensor) -> Tensor:
    """Sum over each pixel's surroundings (3, 3), weights 1 at corners, 2 beside it, and 4 for the pixel itself."""
    values = F.pad(values, (1, 1, 1, 1))
    values = values[..., :-1, :] + values[..., 1:, :]
    values = values[..., :-1, :] + values[..., 1:, :]
    values = values[..., :-1] + values[..., 1:]
    return values[..., :-1] + values[..., 1:]


def _grids(unknown: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Build the system on ever coarser grids, as (unknown, the sum of weights of a pixel and its neighbours).

    The equation of an unknown pixel x is (weight - 4) x = the weighted sum of its neighbours, times 12.
    """
    grids = [(unknown, _gather(torch.ones_like(unknown[:1])))]
    while max(unknown.shape[-2:]) > 2:
        unknown = 1 - F.max_pool2d(1 - unknown, 2, ceil_mode=True)  # a cell is unknown only if all of it is
        grids.append((unknown, _gather(torch.ones_like(unknown[:1]))))
    return grids


def _cycle(residual: Tensor, grids: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Approximate the system's solution for a residual by a multigrid V-cycle, symmetric and positive definite.

    One Jacobi step before and one after the correction from the next coarser grid damp the error that this grid cannot
    represent to a third or less, as its eigenvalues lie in 2/3 to 4/3.
    """
    (mask, weight), coarser = grids[0], grids[1:]
    inverse = mask / (weight - 4).clamp(min=1)  # 0 only where the image is a single pixel
    found = inverse * residual
    if coarser:
        left = mask * torch.sub(_gather(found), found, alpha=4)
        # Bilinear interpolation of the correction, and its transpose on the way there.
        correction = _cycle(_sum_of_fours(_gather(left)) / 16, coarser)
        found = found + mask * _gather(_four_of_each(correction, left)) / 16
    return inverse * torch.sub(residual + _gather(found), found, alpha=4)


def _sum_of_fours(values: Tensor) -> Tensor:
    """Sum (..., h, w) into a grid of half the size; an odd border is padded with zeros."""
    values = F.pad(values, (0, values.shape[-1] % 2, 0, values.shape[-2] % 2))
    rows = values[..., ::2, :] + values[..., 1::2, :]
    return rows[..., ::2] + rows[..., 1::2]


def _four_of_each(values: Tensor, like: Tensor) -> Tensor:
    """Apply its transpose: return to the size of `like`."""
    (height, width), lead = values.shape[-2:], values.shape[:-2]
    larger = values[..., :, None, :, None].expand(*lead, height, 2, width, 2).reshape(*lead, 2 * height, 2 * width)
    return larger[..., : like.shape[-2], : like.shape[-1]]


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((-2, -1), keepdim=True)
