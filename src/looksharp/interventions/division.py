"""Divisions of a picture into what a class should be read from and what it should not, and their exchange."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from looksharp.interventions.pieces import exchange_pieces
from looksharp.interventions.surroundings import exchange_surroundings, object_only, surroundings_only

__all__ = ["INTERVENTIONS", "OBJECTS", "PIECES", "Division"]

Measures = Mapping[str, tuple[str, Literal["higher", "lower"]]]

INTERVENTIONS: dict[str, tuple[str, Literal["higher", "lower"]]] = {
    "original": ("Accuracy on the marked images as they are", "higher"),
    "exchanged_within": ("Accuracy in other surroundings of the same class", "higher"),
    "exchanged_across": ("Accuracy in another class's surroundings", "higher"),
    "background_gap": ("Accuracy lost to another class's surroundings", "lower"),
    "object_only": ("Accuracy on the object alone", "higher"),
    "surroundings_only": ("Accuracy on the surroundings alone", "lower"),
    "follows_surroundings": ("Answers with the class of the surroundings", "lower"),
}
"""Each measure's label and better direction: "lower" is towards 0 for the gap, towards chance for surroundings."""

_OF_PIECES: Measures = {
    "original": ("Accuracy on these images as they are", "higher"),
    "exchanged_within": ("Accuracy with another piece of the same class", "higher"),
    "exchanged_across": ("Accuracy with another class's piece", "higher"),
    "background_gap": ("Accuracy lost to another class's piece", "lower"),
    "object_only": ("Accuracy without the piece", "higher"),
    "surroundings_only": ("Accuracy on the piece alone", "lower"),
    "follows_surroundings": ("Answers with the class of the piece", "lower"),
}


@dataclass(frozen=True, eq=False)
class Division:
    """A way to divide pictures by masks, and to exchange the halves.

    Attributes:
        exchange: puts what should count of images (N, C, H, W) with masks (N, H, W) beside what should not of others,
            (images, masks, others, other_masks) -> (N, C, H, W).
        kept: shows what should count alone, (images, masks) -> (N, C, H, W).
        rest: shows what should not count alone, likewise.
        measures: each measure's label and better direction, as `INTERVENTIONS`.
    """

    exchange: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    kept: Callable[[Tensor, Tensor], Tensor]
    rest: Callable[[Tensor, Tensor], Tensor]
    measures: Measures


OBJECTS = Division(exchange_surroundings, object_only, surroundings_only, INTERVENTIONS)
"""Masks are of objects; their surroundings should not count."""

PIECES = Division(exchange_pieces, surroundings_only, object_only, _OF_PIECES)
"""Masks are of pieces that should not count; all else should."""
