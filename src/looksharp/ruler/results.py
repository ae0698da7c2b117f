"""Results of a ranking."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from looksharp.ruler.cost import Cost

__all__ = ["CueFacts", "Example", "Measured", "Ranking", "Score", "Standing"]


@dataclass(frozen=True, eq=False)
class Measured:
    """Measurements of one mechanism.

    Attributes:
        name: its spelling.
        per_image: score -> (N,) float32, NaN where undefined.
        cost: cost of one image.
        seconds: time of one image's map.
        maps: (S, h, w) maps of the images that are shown.
    """

    name: str
    per_image: dict[str, Tensor]
    cost: Cost
    seconds: float
    maps: Tensor


@dataclass(frozen=True)
class Score:
    """A mean over images, with its 95% bootstrap interval; NaN where undefined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Standing:
    """The place of one mechanism among all.

    Attributes:
        name: its spelling.
        place: from 1.
        decisive: what decides: the share of cues found, or the mean rank over scores.
        as_good: True if the paired interval of its difference to the first holds 0.
        scores: score -> its mean.
        cost: cost of one image.
        seconds: time of one image's map.
    """

    name: str
    place: int
    decisive: Score
    as_good: bool
    scores: dict[str, Score]
    cost: Cost
    seconds: float


@dataclass(frozen=True)
class CueFacts:
    """Facts of a planted cue.

    Attributes:
        known: number of images whose cue is known.
        hanging: number of these whose answer changes once the cue is painted over.
        share: mean share of the image that the cue covers.
    """

    known: int
    hanging: int
    share: float


@dataclass(frozen=True, eq=False)
class Example:
    """An image to show: its title, colours (3, H, W) in [0, 1], the cue if known, and a map (h, w) per mechanism."""

    title: str
    image: Tensor
    cue: Tensor | None
    maps: dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Ranking:
    """Mechanisms in the order of what they are worth on one network.

    Attributes:
        standings: all that were measured, the best first.
        refused: mechanism -> why it cannot be used here.
        advice: one sentence.
        reason: the reason for what decides.
        rule: how places are given.
        take: the mechanism that is advised; None if none is better than chance.
        by_cue: True if finding the cue decides.
        cue: facts of the cue; None if none is known.
        data: name of the data set.
        split: name of the split.
        images: number of images.
        seed: seed of all that was drawn.
        examples: images to show.
    """

    standings: tuple[Standing, ...]
    refused: dict[str, str]
    advice: str
    reason: str
    rule: str
    take: str | None
    by_cue: bool
    cue: CueFacts | None
    data: str
    split: str
    images: int
    seed: int
    examples: tuple[Example, ...]
