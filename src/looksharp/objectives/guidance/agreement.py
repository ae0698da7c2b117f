"""Agreement: a marked object must mean the same to the network in any surroundings."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from looksharp.objectives.base import PARTS, Forward, Term
from looksharp.objectives.exchange import Exchange, copies_disagree
from looksharp.objectives.warm_up import WarmUp

__all__ = ["Agreement"]


@PARTS.register("agreement")
@dataclass(eq=False)
class Agreement(Exchange):
    """Exchanged backgrounds, and the term "agreement": both predictions for a marked object agree.

    The copies are those of `BackgroundExchange`. The term is the symmetric divergence between the predictions for an
    image and its copy, averaged over the batch's copies.

    Args:
        weight: weight of the term.
        warmup: training steps over which the weight rises from 0.
        backgrounds: folder of photographs to draw surroundings from, or a tensor of them (N, C, H, W), normalised;
            those of other marked images if not given.

    Example:
        >>> from looksharp.objectives import Classification
        >>> objective = Classification() + Agreement(0.3)
    """

    weight: float = 1.0
    warmup: int = 0

    def __post_init__(self) -> None:
        self._rise = WarmUp(self.warmup)

    def terms(self, forward: Forward) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """Compare the predictions for the copies with those for the originals."""
        return {"agreement": Term(copies_disagree(forward, recued=False), self.weight * self._rise(forward))}, {}
