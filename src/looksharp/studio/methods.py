"""The ways to retrain that the studio offers, each with what was measured of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["METHODS", "Method", "advised"]

Reads = Literal["marks", "ticks"]


@dataclass(frozen=True)
class Method:
    """One way to retrain.

    Attributes:
        title: its name.
        reads: what a person must have made for it.
        flags: of `looksharp cure`, beside those that name marks and ticks.
        advice: when to take it, and what was measured; see docs/results.md.
        cost: what an epoch takes, as a multiple of a plain one, by `python -m benchmarks.retraining` (the backbone
            small): where half of each batch are marked or ticked images, an epoch has twice as many steps.
        before: seconds until the training can begin, likewise: a segmenter learns the marks first.
    """

    title: str
    reads: frozenset[Reads]
    flags: tuple[str, ...]
    advice: str
    cost: float
    before: float = 0.0


_MARKS: frozenset[Reads] = frozenset({"marks"})
_TICKS: frozenset[Reads] = frozenset({"ticks"})

METHODS: dict[str, Method] = {
    "marks": Method(
        "Marked images alone",
        _MARKS,
        ("--no_propagate",),
        "agreement between the marked images and their copies. Digits with a false cue in 98% of the images, 60 of "
        "6,000 marked, equal steps: accuracy with the cue at random from 20% to 96%; with the cue a point lost, as in "
        "training without one.",
        4.1,
    ),
    "propagated": Method(
        "Marks, carried over to all images",
        _MARKS,
        ("--propagate",),
        "The default. A small segmenter learns your marks and finds the object in every training image. On digits "
        "with 60 marks nothing of the cue was left (98% with the cue at random, gap .001, surroundings alone at "
        "guessing). Look at the sheet of masks that it leaves; it takes a few minutes more.",
        2.0,
        80.0,
    ),
    "light": Method(
        "Marked images, with less weight",
        _MARKS,
        ("--no_propagate", "--guidance", "agreement:0.3"),
        "agreement with weight 0.3 loses nothing where the cue is there, and leaves more of it: 92% with the cue at "
        "random where the default has 96%, equal steps.",
        4.1,
    ),
    "maps": Method(
        "Marked images, map on the object",
        _MARKS,
        ("--no_propagate", "--guidance", "agreement+contrast"),
        "As good without the cue (97%), the least spread over seeds with few marks, and the map moves onto the object "
        "(69% of it inside; with agreement alone 46%). For networks whose positions see a part of the image; loses "
        "about 1 point with the cue, 3 where it is never wrong.",
        4.3,
    ),
    "ticks": Method(
        "Ticked groups",
        _TICKS,
        (),
        "No mark is drawn: the ticked pieces, and pieces like them in all other images, are exchanged. Digits, 10 "
        "epochs after 17 or 18 ticks: 98% with the cue and with the cue at random. It fails where the cue is the whole "
        "background, as in photographs; groups that would do harm are refused before training.",
        5.5,
        40.0,
    ),
    "both": Method(
        "Ticked groups and marked images",
        _MARKS | _TICKS,
        (),
        "Pieces of ticked groups are exchanged, and marked objects move to other surroundings, both in all images. Not "
        "measured.",
        5.5,
        120.0,
    ),
}
"""Every method by its name, in the order in which the page shows them."""

_FEW = 20  # marked images below which a segmenter has little to learn from


def advised(marked: int, ticked: int) -> str:
    """Return the method that is advised for a number of marked images and of ticked groups; "" if none can be used.

    Example:
        >>> advised(60, 0), advised(4, 0), advised(0, 12), advised(4, 12), advised(1, 0)
        ('propagated', 'marks', 'ticks', 'ticks', '')

    """
    if ticked and marked < _FEW:
        return "ticks"
    if marked >= _FEW:
        return "propagated"
    return "marks" if marked >= 2 else ""
