"""Kinds of suites, and the registry in which each suite registers itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from looksharp.evaluation.result import Evaluation
from looksharp.evaluation.subject import Measure, Subject
from looksharp.registry import Registry

__all__ = ["SUITES", "Separate", "Shared", "check_suites", "forwards", "suite_costs"]


@dataclass(frozen=True)
class Shared:
    """A suite that reads the one forward of each image that all of its kind share.

    Attributes:
        cost: cost of one image, in words.
        start: makes a `Measure` from a subject and the number of classes.
        forwards: forwards of one image, beyond the shared one.
        reads_maps: True if it reads maps, so that the ends of the last stages are recorded.
        needs: needs that not every data set meets, in words.
        place: order in which suites are listed and measured; plugins' come last.
    """

    cost: str
    start: Callable[[Subject, int], Measure]
    forwards: float = 0.0
    reads_maps: bool = True
    needs: str = ""
    place: float = 100


@dataclass(frozen=True)
class Separate:
    """A suite that goes through the images by itself.

    Attributes:
        cost: cost of one image, in words.
        measure: measures a subject; its second argument is called with the number of forwards done.
        forwards: forwards of one image.
        reads_maps: True if it depends on the mechanism and the layers.
        sharpens: True if it depends on whether a CRF sharpens masks.
        needs: needs that not every data set meets, in words.
        place: order in which suites are listed and measured; plugins' come last.
    """

    cost: str
    measure: Callable[[Subject, Callable[[float], object]], Evaluation]
    forwards: float
    reads_maps: bool = False
    sharpens: bool = False
    needs: str = ""
    place: float = 100


SUITES: Registry[Shared | Separate] = Registry("suite", "looksharp.evaluation.suites")
"""Every suite by its name."""


def check_suites(suites: Iterable[str] | str) -> tuple[str, ...]:
    """Return the names of suites, each once, in the order of their places; "all" means every suite.

    Raises:
        ValueError: if a suite is not known, or none is named.
    """
    asked = (suites,) if isinstance(suites, str) else tuple(suites)
    for name in asked:
        if name not in SUITES and name != "all":
            raise ValueError(f"suite {name!r} is not known; there are {', '.join(_in_order())} and all")
    if not asked:
        raise ValueError(f"suites must be at least one of {', '.join(_in_order())}; got none")
    return tuple(name for name in _in_order() if name in asked or "all" in asked)


def forwards(suites: Iterable[str]) -> float:
    """Return about how many forwards of an image suites cost together."""
    chosen = [SUITES[name] for name in suites]
    return any(isinstance(suite, Shared) for suite in chosen) + sum(suite.forwards for suite in chosen)


def suite_costs() -> str:
    """Return a text that names every suite with its cost."""
    return "; ".join(f"{name}: {SUITES[name].cost}" for name in _in_order())


def _in_order() -> list[str]:
    return sorted(SUITES, key=lambda name: SUITES[name].place)
