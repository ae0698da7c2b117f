"""Say in one sentence which mechanism to take, and why."""

from __future__ import annotations

import math
from collections.abc import Sequence

from looksharp.metrics.catalogue import find_metric
from looksharp.ruler.ranking import ranked_scores
from looksharp.ruler.results import CueFacts, Score, Standing

__all__ = ["LEAST_HANGING", "advise", "advised", "in_forwards", "reason", "rule"]

_CHEAP = 3  # forwards

LEAST_HANGING = 10
"""Images whose answer must hang on the cue for it to decide."""


def advised(standings: Sequence[Standing], cue: CueFacts | None) -> Standing | None:
    """Return the cheapest of those as good as the first; None if a cue decides and none finds it beyond chance."""
    if cue is not None and not standings[0].decisive.low > _chance(standings[0]):
        return None
    return min((each for each in standings if each.as_good), key=lambda each: (_cost(each), each.place))


def advise(standings: Sequence[Standing], cue: CueFacts | None) -> str:
    """Return the advice in a sentence.

    Args:
        standings: the best first.
        cue: facts of the cue if it decides.
    """
    take = advised(standings, cue)
    if take is None:
        first = standings[0]
        return (
            f"On this network take none of them: the best, {first.name}, finds the cue in {_percent(first.decisive)}, "
            f"and a random position would in {_chance(first):.0%}."
        )
    text = f"On this network take {take.name}: {_praise(take, standings, cue)} at {in_forwards(_cost(take))}"
    return f"{text}{_beside(take, standings, cue)}{_cheap(take, standings, cue)}."


def _beside(take: Standing, standings: Sequence[Standing], cue: CueFacts | None) -> str:
    """Name another mechanism as good, and its price; else the next."""
    good = [each for each in standings if each.as_good and each is not take]
    if good:
        more = _cost(good[0]) - _cost(take)
        price = "costs the same" if more < 0.05 else f"costs {_number(_cost(good[0]))}"
        return f"; {good[0].name} is as good and {price}"
    rest = [each for each in standings if each is not take]
    return f"; the next, {rest[0].name}, has {_value(rest[0], cue)}" if rest else ""


def _cheap(take: Standing, standings: Sequence[Standing], cue: CueFacts | None) -> str:
    """Name the best of those that cost little, where the advice is dear."""
    cheap = [each for each in standings if _cost(each) <= _CHEAP]
    if _cost(take) <= _CHEAP or not cheap:
        return ""
    return f"; up to {_CHEAP} forwards {cheap[0].name} is the best and has {_value(cheap[0], cue)}"


def reason(standings: Sequence[Standing], cue: CueFacts | None, images: int) -> str:
    """Say why the cue decides, or why it does not."""
    ranks = f"the mean rank over {_listed(standings)} decides"
    if cue is None:
        return f"No cue is known in these images, so {ranks}."
    hanging = (
        f"The answer hangs on the planted cue in {cue.hanging} of {images} images (it changes once the cue is painted "
        f"over)"
    )
    if cue.hanging < LEAST_HANGING:
        return f"{hanging}, fewer than {LEAST_HANGING}, so {ranks}."
    return f"{hanging}; there a map that is right lies on the cue, so finding it decides."


def rule(by_cue: bool) -> str:
    """Return the rule by which places are given."""
    decides = (
        "Mechanisms are sorted by the share of images whose map is highest at a position that touches the cue, among "
        "the images whose answer hangs on it"
        if by_cue
        else "Mechanisms are ranked by each score, and sorted by the mean of their ranks"
    )
    return (
        f"{decides}; ties by cost. Intervals are 95% bootstrap intervals over images, paired: each resample draws the "
        "same images for all. As good as the first is whatever differs from it by an interval that holds 0, and the "
        "cheapest of these is advised. Costs are operations counted while the network runs, in forwards of it."
    )


def in_forwards(cost: float) -> str:
    """Return a cost in words."""
    return "an unknown cost" if not math.isfinite(cost) else f"{_number(cost)} forwards"


def _chance(standing: Standing) -> float:
    return standing.scores["cue_chance"].value


def _praise(take: Standing, standings: Sequence[Standing], cue: CueFacts | None) -> str:
    if cue is not None:
        return f"it finds the cue in {_percent(take.decisive)}"
    found = take.decisive
    return (
        f"its mean rank over {len(_scores(standings))} scores is {found.value:.1f} ({found.low:.1f} to "
        f"{found.high:.1f}) of {len(standings)}"
    )


def _value(standing: Standing, cue: CueFacts | None) -> str:
    return f"{standing.decisive.value:.0%}" if cue else f"{standing.decisive.value:.1f}"


def _percent(score: Score) -> str:
    return f"{score.value:.0%} ({score.low * 100:.0f} to {score.high * 100:.0f})"


def _number(cost: float) -> str:
    return f"{cost:.1f}" if cost < 9.95 else f"{cost:,.0f}"


def _cost(standing: Standing) -> float:
    return round(standing.cost.total, 2) if math.isfinite(standing.cost.total) else math.inf


def _scores(standings: Sequence[Standing]) -> list[str]:
    values: dict[str, list[float]] = {}
    for each in standings:
        for name, score in each.scores.items():
            values.setdefault(name, []).append(score.value)
    return ranked_scores(values)


def _listed(standings: Sequence[Standing]) -> str:
    labels = [find_metric(name).label.partition(",")[0].lower().replace("road", "ROAD") for name in _scores(standings)]
    return ", ".join(labels[:-1]) + f" and {labels[-1]}" if len(labels) > 1 else labels[0]
