"""Agreement: predictions must not depend on the surroundings, with a marked object in them or without."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge
from torch import Tensor

from looksharp.objectives.base import PARTS, Forward, Term
from looksharp.objectives.exchange import Exchange, copies_disagree, surroundings_disagree
from looksharp.objectives.warm_up import WarmUp

__all__ = ["Agreement"]

_MOST = 16  # surroundings alone to compare: agreement there is learnt fast


@PARTS.register("agreement")
@dataclass(eq=False)
class Agreement(Exchange):
    """Exchanged backgrounds, and two terms: predictions do not depend on the surroundings, with an object and without.

    The copies are those of `BackgroundExchange`. The term "agreement" is the symmetric divergence between the
    predictions for an image and its copy, averaged over the batch's copies. The term "surroundings" is that between
    predictions for the surroundings alone of two images, see `surroundings_disagree`, over at most 16 of the batch.
    Where an object is seen, it may hide what a network still makes of its surroundings; only the second term sees that.

    Args:
        weight: weight of both terms.
        warmup: training steps over which the weight rises from 0.
        surroundings: weight of the term for surroundings alone, in multiples of `weight`; 0 leaves it out.
        backgrounds: folder of photographs to draw surroundings from, or a tensor of them (N, C, H, W), normalised;
            those of other marked images if not given.

    Example:
        >>> from looksharp.objectives import Classification
        >>> objective = Classification() + Agreement(0.3)
    """

    weight: float = 1.0
    warmup: int = 0
    surroundings: Annotated[float, Ge(0)] = 1.0

    def __post_init__(self) -> None:
        self._rise = WarmUp(self.warmup)

    def terms(self, forward: Forward) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """Compare the predictions for the copies with those for the originals, and for surroundings alone."""
        weight = self.weight * self._rise(forward)
        found = {"agreement": Term(copies_disagree(forward, recued=False), weight)}
        if self.surroundings > 0:
            found["surroundings"] = Term(surroundings_disagree(forward, _MOST), weight * self.surroundings)
        return found, {}
