"""Judge by interventions, before and after, whether the shortcut is gone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

__all__ = [
    "MOVED",
    "OF_OBJECTS",
    "OF_PIECES",
    "RULE",
    "RULE_OF_PIECES",
    "TOLERANCE",
    "Evidence",
    "Verdict",
    "Wording",
    "deciding_split",
    "judge",
    "worse",
]

Kind = Literal["cured", "partly", "not", "nothing", "unproven"]

TOLERANCE = 0.05
"""A loss of accuracy in foreign surroundings below this counts as none."""

_ALONE = "surroundings_only"

MOVED = 0.1
"""A map moved if so much more of it lies on the object."""

RULE = (
    f"The gap is how much accuracy is lost where an object stands in another class's surroundings instead of other "
    f"surroundings of its own class. There was a shortcut if the gap before is shown to be above 0 and may be above "
    f"{TOLERANCE:.0%}. It is cured if the gap after is shown to be below {TOLERANCE:.0%}, and partly cured if it is "
    f"shown to be smaller than before; both only if accuracy in another class's surroundings is shown to have risen, "
    f"since a classifier that is right nowhere has no gap either. It is partly cured at best while the surroundings "
    f"alone are shown to name the class more than {TOLERANCE:.0%} oftener than guessing does, or than a network that "
    f"was trained without the cue, where there is one (--ceiling): not all that surrounds an object is a shortcut. "
    f"Shown means that 95% intervals tell so. The split is the one with the largest gap before."
)
"""The rule, in words for the page."""


RULE_OF_PIECES = (
    f"A piece is the region in which the classifier before the cure finds its evidence, in images that are most like "
    f"the ticked groups. The gap is how much accuracy is lost where a piece is replaced by another class's instead "
    f"of another one of its class. There was a shortcut if the gap before is shown to be above 0 and may be above "
    f"{TOLERANCE:.0%}. It is cured if the gap after is shown to be below {TOLERANCE:.0%}, and partly cured if it is "
    f"shown to be smaller than before; both only if accuracy with another class's piece is shown to have risen. It is "
    f"partly cured at best while the piece alone is shown to name the class more than {TOLERANCE:.0%} oftener than "
    f"guessing does, or than a network that was trained without the cue, where there is one (--ceiling). Shown "
    f"means that 95% intervals tell so. The split is the one with the largest gap before. Where there are marks too, "
    f"the same rule is applied to the surroundings of objects, and the worse of both verdicts counts."
)
"""The rule of a verdict by pieces."""


@dataclass(frozen=True)
class Wording:
    """Words of a verdict's sentence.

    Attributes:
        across: where the classifier is right after an exchange.
        things: what it is right on.
        within: what the gap is measured against.
        cost: what cost it accuracy.
        more: how to tell more.
        advice: how to leave less.
        alone: where the class may still be read.
        without: what is left once that is gone.
    """

    across: str
    things: str
    within: str
    cost: str
    more: str
    advice: str
    alone: str
    without: str


OF_OBJECTS = Wording(
    "in another class's surroundings",
    "objects",
    "other surroundings of their own class",
    "another class's surroundings",
    "Mark more images to tell.",
    "More marked images, more epochs or a greater weight of the guidance leave less.",
    "From the surroundings alone",
    "without their surroundings",
)
OF_PIECES = Wording(
    "with another class's piece",
    "images",
    "another piece of their own class",
    "another class's piece",
    "More held-out images would tell.",
    "More ticked groups, more epochs or a greater weight of the guidance leave less.",
    "From the piece alone",
    "without the piece",
)


class Evidence(Protocol):
    """Results of interventions on a split; see `Interventions`."""

    @property
    def values(self) -> Mapping[str, float]:
        """Measure -> value."""

    @property
    def intervals(self) -> Mapping[str, tuple[float, float]]:
        """Measure -> its 95% interval."""

    @property
    def chance(self) -> Mapping[str, float]:
        """Measure -> its value for a guess; read of pictures of one half alone, where that was measured."""


@dataclass(frozen=True)
class Verdict:
    """The verdict on whether a shortcut is gone.

    Attributes:
        kind: "cured", "partly", "not", "nothing" (there was no shortcut to cure) or "unproven".
        sentence: the same in words, with the numbers it rests on.
        split: where the proof was made; "" if nowhere.
        warning: set where the map moved and the interventions did not.
    """

    kind: Kind
    sentence: str
    split: str = ""
    warning: str = ""

    def __str__(self) -> str:
        return self.sentence


def judge(
    before: Mapping[str, Evidence],
    after: Mapping[str, Evidence],
    inside: tuple[Mapping[str, float], Mapping[str, float]] = ({}, {}),
    *,
    marked: bool = True,
    said: Wording = OF_OBJECTS,
    ceiling: Mapping[str, Evidence] | None = None,
) -> Verdict:
    """Judge by `RULE` whether what surrounds the object still matters.

    Args:
        before: split -> what interventions found for the classifier as it was.
        after: the same, for the retrained one, on the same splits.
        inside: split -> share of attention on the object, before and after, where known.
        marked: whether the retrained one was trained with marks, so that more of them may leave less of the cue.
        said: words of the sentence; `OF_PIECES` where pieces were exchanged.
        ceiling: the same as `before`, for a network that was trained without the cue, where there is one.

    Example:
        >>> from types import SimpleNamespace
        >>> def found(gap, across):
        ...     values = {"background_gap": gap, "exchanged_across": across, "exchanged_within": across + gap}
        ...     return {"test": SimpleNamespace(values=values, intervals={n: (v, v) for n, v in values.items()})}
        >>> judge(found(0.5, 0.4), found(0.01, 0.9)).kind
        'cured'

    """
    split = deciding_split(before)
    if not split:
        sentence = "Not proven: no marked images were left to exchange the surroundings of."
        return Verdict(
            "unproven", sentence, warning=_warning(*(next(iter(side.values()), math.nan) for side in inside))
        )
    best = None if ceiling is None else ceiling.get(split)
    kind = _kind(before[split], after[split], best)
    warning = _warning(*(side.get(split, math.nan) for side in inside)) if kind in ("not", "unproven") else ""
    return Verdict(kind, _sentence(kind, before[split], after[split], marked, said, best), split, warning)


def worse(one: Verdict, other: Verdict) -> Verdict:
    """Return the worse of two verdicts on one classifier, the first where they are alike."""
    return max(one, other, key=lambda verdict: _BADNESS.index(verdict.kind))


_BADNESS: tuple[Kind, ...] = ("nothing", "cured", "unproven", "partly", "not")


def deciding_split(before: Mapping[str, Evidence]) -> str:
    """Return the split on which surroundings matter most before the cure; "" if there is none.

    Where a cue does not follow the class, as in a balanced split, no intervention could show that it is used.
    """
    gaps = {name: found.values["background_gap"] for name, found in before.items()}
    known = {name: gap for name, gap in gaps.items() if math.isfinite(gap)}
    return max(known, key=known.__getitem__) if known else ""


def _kind(before: Evidence, after: Evidence, ceiling: Evidence | None) -> Kind:
    low, high = before.intervals["background_gap"]
    if high < TOLERANCE:
        return "nothing"
    if low <= 0:
        return "unproven"
    left = after.intervals["background_gap"][1]
    gained = after.intervals["exchanged_across"][0] > before.intervals["exchanged_across"][1]
    if left >= low or not gained:
        return "not"
    return "cured" if left < TOLERANCE and not _still_read(after, ceiling) else "partly"


def _still_read(after: Evidence, ceiling: Evidence | None) -> bool:
    """Return True if what is not the object is shown to name the class oftener than it should."""
    if _ALONE not in after.values:
        return False
    least = after.chance[_ALONE] if ceiling is None else ceiling.values[_ALONE]
    return after.intervals[_ALONE][0] > least + TOLERANCE


def _sentence(
    kind: Kind, before: Evidence, after: Evidence, marked: bool, said: Wording, ceiling: Evidence | None
) -> str:
    gap, low, high = before.values["background_gap"], *before.intervals["background_gap"]
    if kind in ("nothing", "unproven"):
        start, end = ("Nothing to cure", "") if kind == "nothing" else ("Not proven", f" {said.more}")
        return (
            f"{start}: before, {said.cost} cost the classifier {_points(gap)} points of accuracy "
            f"(95% interval {_points(low)} to {_points(high)}).{end}"
        )
    left, found = after.values["background_gap"], "Cured" if kind == "cured" else f"{kind.capitalize()} cured"
    sentence = (
        f"{found}: {said.across} the classifier is right on {after.values['exchanged_across']:.1%} "
        f"of {said.things} (before: {before.values['exchanged_across']:.1%}). The gap to {said.within} "
        f"is {_points(left)} points (before: {_points(gap)})."
    )
    if kind == "not" and after.intervals["background_gap"][1] < low:
        sentence += " The gap fell because the classifier is right less often anywhere."
    sentence += _alone(before, after, said, ceiling)
    if kind == "partly" and left < TOLERANCE <= after.intervals["background_gap"][1]:
        sentence += f" The images are too few to show that less than {TOLERANCE:.0%} is left."
    elif kind == "partly" and marked:
        sentence += f" {said.advice}"
    return sentence


def _alone(before: Evidence, after: Evidence, said: Wording, ceiling: Evidence | None) -> str:
    """Say how often the class is named without the object, and what a network without the cue reaches."""
    if _ALONE not in after.values:
        return ""
    sides = [f"before: {before.values[_ALONE]:.0%}", f"guessing: {after.chance[_ALONE]:.0%}"]
    if ceiling is not None:
        sides.append(f"trained without the cue: {ceiling.values[_ALONE]:.0%}")
    text = f" {said.alone} it names the class in {after.values[_ALONE]:.0%} of images ({', '.join(sides)})."
    if ceiling is not None:
        text += f" A network trained without the cue is right on {ceiling.values['exchanged_across']:.1%}."
    return text


def _points(share: float) -> str:
    return f"{100 * share:.1f}".replace("-", "−").replace("−0.0", "0.0")


def _warning(before: float, after: float) -> str:
    if not after - before > MOVED:
        return ""
    return (
        f"{after:.0%} of the map lies on the object (before: {before:.0%}), but what the classifier does in other "
        f"surroundings is not shown to have changed. A moved map is no proof."
    )
