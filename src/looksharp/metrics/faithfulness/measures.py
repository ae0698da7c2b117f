"""All measurements of faithfulness of one batch of maps, each with its defaults."""

from __future__ import annotations

from torch import Tensor, nn

from looksharp.metrics.faithfulness.average_drop import average_drop
from looksharp.metrics.faithfulness.insertion_deletion import deletion, insertion
from looksharp.metrics.faithfulness.road import road

__all__ = ["FORWARDS", "faithfulness"]

FORWARDS = 122
"""Forwards of an image: 51 to insert, 51 to delete, 2 for the drop, 18 for ROAD."""


def faithfulness(
    model: nn.Module,
    images: Tensor,
    maps: Tensor,
    classes: Tensor,
    *,
    multilabel: bool = False,
    batch_size: int = 64,
) -> dict[str, Tensor]:
    """Measure how a class's probability follows changes of the image in the order of its map.

    Args:
        model: any classifier, in eval mode.
        images: (N, C, H, W), as the model expects them.
        maps: (N, h, w), raw, at any scale.
        classes: (N,) the class that each map explains.
        multilabel: probabilities from a sigmoid, not a softmax.
        batch_size: images a forward.

    Returns:
        "insertion", "deletion", "average_drop" and "confidence_increase" (shares of 1, not of 100) and "road"
        (`RoadCurves.combined`), (N,) each; see the functions of these names. NaN for a map that is zero or the same
        everywhere.

    Raises:
        ValueError: if maps or classes do not fit the images, or the model is in training mode.
    """
    given = model, images, maps, classes
    change = average_drop(*given, multilabel=multilabel, batch_size=batch_size)
    return {
        "insertion": insertion(*given, multilabel=multilabel, batch_size=batch_size),
        "deletion": deletion(*given, multilabel=multilabel, batch_size=batch_size),
        "average_drop": change.drop / 100,
        "confidence_increase": change.increase / 100,
        "road": road(*given, multilabel=multilabel, batch_size=batch_size).combined(),
    }
