"""What can be measured: suites by name, and what each costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from looksharp.evaluation.measure import Measure, Subject
from looksharp.evaluation.result import Evaluation
from looksharp.evaluation.suites.attention import Attention
from looksharp.evaluation.suites.classification import Classification
from looksharp.evaluation.suites.faithfulness import FORWARDS as FAITHFULNESS
from looksharp.evaluation.suites.faithfulness import Faithfulness
from looksharp.evaluation.suites.interventions import FORWARDS as INTERVENTIONS
from looksharp.evaluation.suites.interventions import interventions
from looksharp.evaluation.suites.objects import Boxes
from looksharp.evaluation.suites.ten_crop import VIEWS, ten_crop

__all__ = ["SUITES", "Separate", "Shared", "check_suites", "forwards"]


@dataclass(frozen=True)
class Shared:
    """A suite that reads the one forward of each image that all of its kind share.

    Attributes:
        cost: in words, for one image.
        start: from what is measured and the number of classes to a `Measure`.
        forwards: of one image, beyond the shared one.
        reads_maps: whether the ends of the last stages are recorded.
    """

    cost: str
    start: Callable[[Subject, int], Measure]
    forwards: float = 0.0
    reads_maps: bool = True


@dataclass(frozen=True)
class Separate:
    """A suite that goes through the images by itself.

    Attributes:
        cost: in words, for one image.
        measure: from what is measured, and a function that is told the forwards done, to what was found.
        forwards: of one image.
        reads_maps: whether it depends on the mechanism and the layers.
    """

    cost: str
    measure: Callable[[Subject, Callable[[float], object]], Evaluation]
    forwards: float
    reads_maps: bool = False


SUITES: dict[str, Shared | Separate] = {
    "classification": Shared("1 forward", Classification, reads_maps=False),
    "attention": Shared("1 forward, and for the maps about half of one more", Attention, 0.5),
    "boxes": Shared("as attention, and for each object 0.1 s of a CPU at 224 px, 0.006 s at 48 px", Boxes, 1.0),
    "faithfulness": Shared(f"{FAITHFULNESS} forwards", Faithfulness, FAITHFULNESS),
    "ten_crop": Separate("10 forwards", ten_crop, VIEWS),
    "interventions": Separate(f"{INTERVENTIONS} forwards for each object with a mask", interventions, INTERVENTIONS),
}
"""Suites in the order in which their values are shown."""


def check_suites(suites: Iterable[str] | str) -> tuple[str, ...]:
    """Suites by name, each once, in the order of `SUITES`; "all" is all of them.

    Raises:
        ValueError: if there is none of that name, or none at all.
    """
    asked = (suites,) if isinstance(suites, str) else tuple(suites)
    for name in asked:
        if name not in SUITES and name != "all":
            raise ValueError(f"suite {name!r} is not known; there are {', '.join(SUITES)} and all")
    if not asked:
        raise ValueError(f"suites must be at least one of {', '.join(SUITES)}; got none")
    return tuple(name for name in SUITES if name in asked or "all" in asked)


def forwards(suites: Iterable[str]) -> float:
    """About how many forwards of an image suites cost together."""
    chosen = [SUITES[name] for name in suites]
    return any(isinstance(suite, Shared) for suite in chosen) + sum(suite.forwards for suite in chosen)
