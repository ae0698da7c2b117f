"""Background exchange: marked objects are classified in other surroundings too."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from looksharp.objectives.base import PARTS, Forward, Term
from looksharp.objectives.exchange import Exchange

__all__ = ["BackgroundExchange"]


@PARTS.register("background_exchange")
@dataclass(eq=False)
class BackgroundExchange(Exchange):
    """Add a copy of each marked image to the batch, its object in other surroundings; see `Exchange`.

    It has no term of its own: the other parts read the copies like other images. It is an intervention and asks nothing
    of maps, so it also works in networks in which every position sees the whole image.

    Args:
        backgrounds: folder of photographs to draw surroundings from, or a tensor of them (N, C, H, W), normalised;
            those of other marked images if not given.

    Example:
        >>> from looksharp.objectives import Classification
        >>> objective = Classification() + BackgroundExchange()
    """

    def terms(self, forward: Forward) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """Return no terms: the copies are classified with the others."""
        return {}, {}
