"""Give mechanisms their places, with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from looksharp.experiments.statistics import bootstrap_means, interval
from looksharp.metrics.catalogue import find_metric
from looksharp.ruler.results import Measured, Score, Standing

__all__ = ["DECIDES", "RANKED", "rank", "ranked_scores"]

DECIDES = "cue_found"
"""The score that decides where the answer hangs on a cue."""

RANKED = (
    "insertion",
    "deletion",
    "average_drop",
    "road",
    "randomised_rank",
    "attention_inside",
    "pointing_game",
    "no_attention",
)
"""Scores whose ranks are averaged where no cue decides; that of empty maps only where there are any."""

_RESAMPLES = 2000


def rank(measured: Sequence[Measured], by_cue: bool, seed: int = 0) -> list[Standing]:
    """Sort mechanisms: by the share of cues found, or by their mean rank over `RANKED`; ties by cost.

    Intervals are 95% percentile bootstrap intervals over images, paired: each resample draws the same images for all
    mechanisms. A mechanism is as good as the first if the interval of its difference to the first holds 0. Where a
    score is undefined, as for a map that is the same everywhere, the image is left out of that mean.

    Args:
        measured: at least one mechanism.
        by_cue: True if "cue_found" decides.
        seed: seed of the resamples.
    """
    names = list(dict.fromkeys(name for each in measured for name in each.per_image))
    points: dict[str, Tensor] = {}
    drawn: dict[str, Tensor] = {}
    for name in names:
        values = _matrix(measured, name)  # (N, M)
        points[name], drawn[name] = values.double().nanmean(0), bootstrap_means(values, _RESAMPLES, seed)
    ranked = ranked_scores({name: found.tolist() for name, found in points.items()})
    if by_cue:
        point, resampled, sign = points[DECIDES], drawn[DECIDES], -1
    else:
        point, resampled, sign = _mean_ranks(points, ranked), _mean_ranks(drawn, ranked), 1
    costs = [_known(each.cost.total, math.inf) for each in measured]
    order = sorted(
        range(len(measured)), key=lambda m: (_known(sign * float(point[m]), math.inf), round(costs[m], 2), m)
    )
    first = order[0]
    standings = []
    for place, m in enumerate(order, 1):
        low, high = interval(resampled[:, m] - resampled[:, first])
        scores = {name: _score(points[name][m], drawn[name][:, m]) for name in names if not points[name][m].isnan()}
        standings.append(
            Standing(
                measured[m].name,
                place,
                _score(point[m], resampled[:, m]),
                m == first or low <= 0 <= high,
                scores,
                measured[m].cost,
                measured[m].seconds,
            )
        )
    return standings


def ranked_scores(values: Mapping[str, Sequence[float]]) -> list[str]:
    """Return which of these scores are ranked, given the values of all mechanisms."""
    found = [name for name in RANKED[:-1] if name in values]
    return [*found, RANKED[-1]] if any(values.get(RANKED[-1], ())) or not found else found


def _matrix(measured: Sequence[Measured], name: str) -> Tensor:
    """Return the values (N, M) of one score, without the images where no mechanism has one."""
    images = max(len(values) for each in measured for values in each.per_image.values())
    absent = torch.full((images,), torch.nan)
    values = torch.stack([each.per_image.get(name, absent) for each in measured], 1)
    return values[~values.isnan().all(1)]


def _mean_ranks(values: dict[str, Tensor], names: Sequence[str]) -> Tensor:
    """Average ranks (..., M), 1 for the best, over scores; equal values share one, undefined ones are last."""
    from scipy.stats import rankdata

    ranks = []
    for name in names:
        sign = -1 if find_metric(name).better == "higher" else 1
        ranks.append(rankdata(np.nan_to_num(sign * values[name].numpy(), nan=np.inf), axis=-1))
    return torch.from_numpy(np.mean(ranks, axis=0))


def _score(value: Tensor, resampled: Tensor) -> Score:
    return Score(float(value), *interval(resampled))


def _known(value: float, otherwise: float) -> float:
    return otherwise if math.isnan(value) else value
