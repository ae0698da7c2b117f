"""Gaussian filtering in many dimensions on the permutohedral lattice, for images too large for all pairs."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Lattice", "build_lattice", "lattice_filter"]


class Lattice(NamedTuple):
    """Points on the permutohedral lattice.

    Attributes:
        corners: (N, D + 1) the vertices of the simplex around each point, of M.
        shares: (N, D + 1) the point's barycentric coordinates.
        neighbours: (D + 1, 2, M) the vertices on both sides along each axis; M where there is none.
    """

    corners: Tensor
    shares: Tensor
    neighbours: Tensor


def build_lattice(features: Tensor) -> Lattice:
    """Place points on the lattice.

    Adams, Baek and Davis 2010, "Fast High-Dimensional Filtering Using the Permutohedral Lattice", Sec. 3, as in the
    code of Krähenbühl and Koltun.

    Args:
        features: (N, D), in units of the Gaussian's width.
    """
    count, size = features.shape
    base, rank, shares = _simplexes(_elevated(features))
    canonical = torch.arange(size + 1, device=features.device).repeat(size + 1, 1)  # [rank, remainder]
    canonical = canonical - (size + 1) * (canonical + canonical.T > size)
    keys = (base.unsqueeze(1) + canonical[rank].transpose(1, 2))[..., :size]  # (N, D + 1, D)
    least = keys.amin((0, 1)) - size - 1  # so that neighbours' keys are positive too
    span = keys.amax((0, 1)) + size + 2 - least
    places = torch.cat([span.new_ones(1), span[:-1].cumprod(0)])
    vertices, corners = ((keys - least) * places).sum(-1).flatten().unique(return_inverse=True)
    step = -places.sum()
    steps = [step + (size + 1) * place for place in places] + [step]
    neighbours = torch.stack([torch.stack([_found(vertices, vertices + side * s) for side in (1, -1)]) for s in steps])
    return Lattice(corners.view(count, size + 1), shares, neighbours)


def lattice_filter(lattice: Lattice, values: Tensor) -> Tensor:
    """Return about sum_j exp(-|f_i - f_j|² / 2) v_j: splat, blur along each axis, slice.

    Args:
        lattice: the points.
        values: (N, C).
    """
    axes, _, vertices = lattice.neighbours.shape
    cells = values.new_zeros(vertices + 1, values.shape[1])  # the last one stands for neighbours that do not exist
    for corner in range(axes):
        cells.index_add_(0, lattice.corners[:, corner], values * lattice.shares[:, corner, None])
    for before, after in lattice.neighbours:
        cells[:-1] += (cells[before] + cells[after]) / 2
    found = sum(cells[lattice.corners[:, corner]] * lattice.shares[:, corner, None] for corner in range(axes))
    assert isinstance(found, Tensor)
    return found / (1 + 2.0 ** -(axes - 1))


def _elevated(features: Tensor) -> Tensor:
    """Map points (N, D) into the hyperplane (N, D + 1) of coordinates that add up to zero."""
    size = features.shape[1]
    number = torch.arange(1, size + 1, device=features.device, dtype=features.dtype)
    scaled = features * ((2 / 3) ** 0.5 * (size + 1)) / (number * (number + 1)).sqrt()
    after = scaled.flip(1).cumsum(1).flip(1)  # sums over this coordinate and those behind it
    return torch.cat([after[:, :1], after - scaled - number * scaled], 1)


def _simplexes(elevated: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the lattice point (N, D + 1) below each point, the order of its remainders, and barycentric shares."""
    width = elevated.shape[1]
    whole = (elevated / width).round()
    excess = whole.sum(1, keepdim=True).long()
    base = (whole * width).long()
    order = (elevated - base).argsort(dim=1, descending=True, stable=True)
    rank = order.argsort(dim=1) + excess
    low, high = rank < 0, rank >= width
    rank = rank + width * low.long() - width * high.long()
    base = base + width * low.long() - width * high.long()
    rest = (elevated - base) / width
    shares = elevated.new_zeros(len(elevated), width + 1)
    shares.scatter_add_(1, width - 1 - rank, rest).scatter_add_(1, width - rank, -rest)
    shares[:, 0] += 1 + shares[:, width]
    return base, rank, shares[:, :width]


def _found(vertices: Tensor, wanted: Tensor) -> Tensor:
    """Return the place of each wanted vertex among the sorted ones; their number where it is none of them."""
    places = torch.searchsorted(vertices, wanted).clamp(max=len(vertices) - 1)
    return torch.where(vertices[places] == wanted, places, len(vertices))
