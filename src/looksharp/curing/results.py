"""Findings of a cure: each classifier's numbers, and images to look at."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from looksharp.curing.budget import Budget
from looksharp.curing.verdict import Verdict
from looksharp.drawing.panel import Panel

if TYPE_CHECKING:
    from looksharp.interventions.intervene import Interventions
    from looksharp.training.folder import Run

__all__ = ["Cure", "Example", "Findings", "Measured", "Shown", "Words"]


@dataclass(frozen=True, eq=False)
class Measured:
    """A classifier and its results.

    Attributes:
        name: short, unique; what its column is headed.
        description: one sentence.
        run: the trained run.
        marked: number of marked images it was trained with.
        splits: split -> metric -> value, as `evaluate` has them.
        interventions: split -> what interventions found.
        pieces: split -> what interventions on pieces found, where groups were ticked.
        ticks: number of ticked groups it was trained with.
    """

    name: str
    description: str
    run: Run
    marked: int
    splits: dict[str, dict[str, float]]
    interventions: dict[str, Interventions]
    pieces: dict[str, Interventions] = field(default_factory=dict)
    ticks: int = 0

    @property
    def proof(self) -> dict[str, Interventions]:
        """Return what the verdict reads first: interventions on pieces where there are any."""
        return self.pieces or self.interventions


@dataclass(frozen=True, eq=False)
class Shown:
    """A picture of an example, with the object's outline and each classifier's answer and map.

    Attributes:
        label: what was done to the image.
        image: colours.
        outline: mask (H, W) of the object; None where it is not in the picture.
        answers: classifier -> (class and its probability, whether it is the object's).
        maps: classifier -> evidence for the true class, over the most confusing one if it has a sign; may be empty.
    """

    label: str
    image: Tensor
    outline: Tensor | None
    answers: dict[str, tuple[str, bool]]
    maps: dict[str, Panel] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Example:
    """One image under interventions."""

    title: str
    pictures: tuple[Shown, ...]


@dataclass(frozen=True)
class Words:
    """Text of the page.

    Attributes:
        title: title of the page.
        settings: name -> value of what the page says about training.
        intro: a plain sentence or two for its top; may be empty.
        note: how marks were divided between training and proof; "" where there was nothing to divide.
        split_notes: split -> a short sentence on what is in it; any may be missing.
    """

    title: str
    settings: dict[str, str]
    intro: str = ""
    note: str = ""
    split_notes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Findings:
    """Everything the page shows.

    Attributes:
        words: its text.
        data: what was classified.
        classes: class names.
        tests: names of the test splits; those of the proof may be others.
        columns: the classifiers, the one before the cure first.
        cure: the name of the cured one.
        verdicts: name -> its verdict against the first, of all but the first and the one trained without the cue.
        versions: package -> version.
        examples: images to look at.
        budget: accuracy against the number of marked images, where it was asked for.
    """

    words: Words
    data: str
    classes: tuple[str, ...]
    tests: tuple[str, ...]
    columns: tuple[Measured, ...]
    cure: str
    verdicts: dict[str, Verdict]
    versions: dict[str, str]
    examples: tuple[Example, ...] = ()
    budget: Budget | None = None

    @property
    def before(self) -> Measured:
        """The classifier before the cure."""
        return self.columns[0]

    @property
    def after(self) -> Measured:
        """The cured classifier."""
        return next(column for column in self.columns if column.name == self.cure)


@dataclass(frozen=True, eq=False)
class Cure:
    """A cure's outcome.

    Attributes:
        verdict: whether the shortcut is gone; as text it is a sentence with the numbers it rests on.
        before: the classifier as it was.
        after: the retrained one.
        others: what it was compared with.
        report: the page's path.
    """

    verdict: Verdict
    before: Measured
    after: Measured
    others: tuple[Measured, ...]
    report: Path
