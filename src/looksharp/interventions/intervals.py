"""95% intervals for shares of images and for the paired difference of two shares."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor

__all__ = ["paired_interval", "wilson_interval"]

_Z = NormalDist().inv_cdf(0.975)


def wilson_interval(values: Tensor) -> tuple[float, float]:
    """Compute Wilson's score interval for the mean of an image's values (N,).

    Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference", which is for values
    0 and 1. Values between 0 and 1, such as an image's mean over several exchanges, vary less: the interval is
    then too wide.

    Args:
        values: (N,) in [0, 1], N at least 1.

    Example:
        >>> low, high = wilson_interval(torch.tensor([1.0] * 54 + [0.0] * 6))
        >>> round(low, 3), round(high, 3)
        (0.799, 0.953)

    """
    count, share = len(values), float(values.double().mean())
    shrink = 1 + _Z**2 / count
    centre = (share + _Z**2 / (2 * count)) / shrink
    half = _Z * math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2)) / shrink
    return max(centre - half, 0.0), min(centre + half, 1.0)


def paired_interval(differences: Tensor, seed: int = 0, resamples: int = 10_000) -> tuple[float, float]:
    """Compute the percentile bootstrap interval for the mean of an image's paired differences (N,).

    The images are resampled together with two more, of differences 1 and -1: without them a few images that all agree
    would have an interval of no width. The method is that of Bonett and Price 2012, "Adjusted Wald Confidence Interval
    for a Difference of Binomial Proportions Based on Paired Data".

    Args:
        differences: (N,) in [-1, 1].
        seed: seed of the draws.
        resamples: number of resamples.

    Example:
        >>> low, high = paired_interval(torch.zeros(60))
        >>> round(low, 3), round(high, 3)
        (-0.048, 0.048)

    """
    beside = torch.tensor([1.0, -1.0], dtype=torch.float64)
    values, counts = torch.cat([differences.double().cpu(), beside]).unique(return_counts=True)
    total = int(counts.sum())
    # A resample's count of each distinct difference is multinomial: no need to draw image by image.
    drawn = np.random.default_rng(seed).multinomial(total, counts.numpy() / total, resamples)
    low, high = np.quantile(drawn @ values.numpy() / total, [0.025, 0.975])
    return float(low), float(high)
