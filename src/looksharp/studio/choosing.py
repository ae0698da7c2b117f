"""Choose and order the images of a split by what the network answers to them: pure functions of arrays."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from looksharp.studio.predictions import Answers

__all__ = ["OUTCOMES", "Asked", "chosen", "confusions"]

OUTCOMES = {"": "all", "right": "right", "wrong": "wrong"}
"""Outcomes that images are chosen by, and their names."""


@dataclass(frozen=True)
class Asked:
    """A choice of images.

    Attributes:
        label: a class that they show; any if None.
        answer: the network's answer; any if None.
        outcome: one of `OUTCOMES`.
        order: what to order by; "" for the order of the data.
    """

    label: int | None = None
    answer: int | None = None
    outcome: str = ""
    order: str = ""


def chosen(answers: Answers, asked: Asked, values: npt.NDArray[np.floating] | None = None) -> npt.NDArray[np.int64]:
    """Return places of the images of a choice; those that have no value come last.

    Args:
        answers: what the network answers.
        asked: the choice.
        values: (N,) values to order by, the largest first; the order of the data if None.
    """
    fits = np.ones(len(answers), bool)
    if asked.label is not None:
        fits &= answers.shows(asked.label)
    if asked.answer is not None:
        fits &= answers.answer == asked.answer
    if asked.outcome:
        fits &= (answers.answer >= 0) & (answers.right == (asked.outcome == "right"))
    places = np.flatnonzero(fits)
    if values is None:
        return places
    return places[np.argsort(-values[places], kind="stable")]  # NaN sorts last


def confusions(answers: Answers) -> dict[tuple[int, int], int]:
    """Count (a class that an image shows, the wrong answer that it got), the most frequent first."""
    wrong = np.flatnonzero(~answers.right & (answers.answer >= 0))
    if answers.targets.ndim == 1:
        rows, labels = np.arange(len(wrong)), answers.targets[wrong]
    else:
        rows, labels = np.nonzero(answers.targets[wrong])
    pairs = Counter(zip(labels.tolist(), answers.answer[wrong][rows].tolist(), strict=True))
    return dict(sorted(pairs.items(), key=lambda item: (-item[1], item[0])))
