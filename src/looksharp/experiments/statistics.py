"""Statistics of experiments: means over seeds, intervals, paired tests, and the correction for many tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = [
    "PROCEDURE",
    "Summary",
    "bootstrap_means",
    "holm",
    "interval",
    "paired_test",
    "resample_seeds",
    "sign_flip_test",
    "summarize",
]

_DRAWN = 4_000_000  # images drawn at once: bounds memory

PROCEDURE = (
    "Where every image has a value of its own, a seed's value is their mean over images. Mean and standard deviation "
    "(n - 1) are over seeds. A difference is to the first method. Its interval is the "
    "95% percentile bootstrap of {resamples:,} resamples; each draws the test images with replacement, the same "
    "images for all methods (paired), and, where a method has several seeds, its seeds with replacement, by each "
    "method for itself. With few seeds such an interval is somewhat too narrow, and of a method with one seed it says "
    "nothing about others. Tests are two-sided and paired over test images, each image's value averaged over seeds, "
    "so they speak of these trained networks: for values that are 0 or 1 the exact sign-flip permutation test (with "
    "one seed each, McNemar's exact test), for others Wilcoxon's signed-rank test. All {tests} p-values are corrected "
    "together by Holm. A difference is marked as significant if its corrected p is below 0.05 and its interval lies "
    "on one side of 0."
)
"""The procedure, in words for the reader of a table."""


@dataclass(frozen=True)
class Summary:
    """Values over seeds; NaN where undefined.

    Attributes:
        mean: their mean.
        std: their standard deviation (n - 1); NaN for one.
        low: lower end of the mean's 95% t-interval; NaN for one.
        high: its upper end.
        count: how many there are.
    """

    mean: float
    std: float
    low: float
    high: float
    count: int


def summarize(values: Sequence[float]) -> Summary:
    """Summarize values over seeds: mean, spread, and the 95% t-interval mean ± t s / sqrt(n).

    t is Student's quantile with n - 1 degrees of freedom.

    Example:
        >>> found = summarize([0.8, 0.9, 1.0])
        >>> [round(value, 3) for value in (found.mean, found.std, found.low, found.high)]
        [0.9, 0.1, 0.652, 1.148]

    """
    from scipy.stats import t

    count = len(values)
    mean = float(np.mean(values)) if values else math.nan
    if count < 2:
        return Summary(mean, math.nan, math.nan, math.nan, count)
    std = float(np.std(values, ddof=1))
    half = float(t.ppf(0.975, count - 1)) * std / math.sqrt(count)
    return Summary(mean, std, mean - half, mean + half, count)


def bootstrap_means(values: Tensor, resamples: int, seed: int = 0) -> Tensor:
    """Resample images with replacement, the same for all columns, and return the columns' means.

    Args:
        values: (N, K), an image a row; NaN where a value is undefined, left out of its column's mean.
        resamples: how many, B.
        seed: of the draws.

    Returns:
        (B, K), in float64; NaN where a resample drew no defined value.

    Example:
        >>> bootstrap_means(torch.tensor([[1.0, 2.0]] * 5), resamples=2)
        tensor([[1., 2.],
                [1., 2.]], dtype=torch.float64)

    """
    count = len(values)
    generator = torch.Generator().manual_seed(seed)
    known = ~values.isnan()
    filled, weights = torch.where(known, values, 0).double(), known.double()
    means = []
    for drawn in torch.arange(resamples).split(max(_DRAWN // max(count, 1), 1)):
        images = torch.randint(count, (len(drawn), count), generator=generator)
        times = torch.zeros(len(drawn), count, dtype=torch.float64)
        times.scatter_add_(1, images, torch.ones_like(times))
        means.append(times @ filled / (times @ weights))
    return torch.cat(means)


def resample_seeds(means: Tensor, seed: int = 0) -> Tensor:
    """Return a method's mean in each resample, over its seeds, drawn with replacement where there are several.

    Args:
        means: (B, S), each seed's mean in each resample.
        seed: of the draws.

    Returns:
        (B,).
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(means.shape[1], means.shape, generator=generator)
    return means.gather(1, drawn).mean(1)


def interval(resampled: Tensor, level: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of resampled values (B,); NaN if any value is."""
    tail = (1 - level) / 2
    low, high = np.quantile(resampled.numpy(), [tail, 1 - tail])
    return float(low), float(high)


def paired_test(first: Tensor, other: Tensor) -> tuple[float, str]:
    """Test one method against another on the same images; return the two-sided p-value and the test's name.

    Each image's values are averaged over the method's seeds; images where any is undefined are left out.

    Args:
        first: (S, N), a seed a row.
        other: (R, N).

    Returns:
        (p, name): "sign-flip" (exact) where all values are 0 or 1, else "Wilcoxon"; p is NaN if no image is left.

    Example:
        >>> paired_test(torch.tensor([[1.0, 0, 0, 0, 0]]), torch.tensor([[1.0, 1, 1, 1, 1]]))
        (0.125, 'sign-flip')

    """
    from scipy.stats import wilcoxon

    known = ~(first.isnan().any(0) | other.isnan().any(0))
    first, other = first[:, known].double(), other[:, known].double()
    binary = all(bool(((v == 0) | (v == 1)).all()) for v in (first, other))
    name = "sign-flip" if binary else "Wilcoxon"
    if not known.any():
        return float("nan"), name
    if binary:
        # Means over seeds as whole numbers, on the common denominator.
        differences = other.sum(0) * len(first) - first.sum(0) * len(other)
        return sign_flip_test(differences.long().tolist()), name
    changed = (other.mean(0) - first.mean(0)).numpy()
    changed = changed[changed != 0]
    return float(wilcoxon(changed).pvalue) if len(changed) else 1.0, name


def sign_flip_test(differences: Sequence[int]) -> float:
    """Test paired differences exactly: how often a sum of whole numbers with random signs is as large (two-sided).

    The sum's distribution is the inverse Fourier transform of the product of cos(2 pi f d) over all differences d.
    With differences of -1, 0 and 1 this is McNemar's exact test.

    Example:
        >>> sign_flip_test([1, 1, 1, 1, 0, 0])
        0.125

    """
    sizes, counts = np.unique(np.abs(np.asarray(differences, np.int64)), return_counts=True)
    total, observed = int(sizes @ counts), abs(int(np.sum(differences)))
    sums = np.arange(2 * total + 1)  # as frequencies, and as sums modulo their number
    spectrum = np.ones(len(sums))
    for size, count in zip(sizes, counts, strict=True):
        spectrum *= np.cos(2 * np.pi * (sums * size % len(sums)) / len(sums)) ** count
    chances = np.fft.ifft(spectrum).real
    extreme = np.minimum(sums, len(sums) - sums) >= observed
    return float(min(max(round(float(chances[extreme].sum()), 15), 0.0), 1.0))


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number (Holm 1979): the chance of any false finding stays below the level.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]

    """
    p: npt.NDArray[np.float64] = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    corrected = np.empty_like(p)
    corrected[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1)
    return [float(value) for value in corrected]
