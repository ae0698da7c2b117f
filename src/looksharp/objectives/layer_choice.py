"""The layers that a part reads."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from looksharp.attention.stages import last_stages
from looksharp.batch import Batch

__all__ = ["LayerChoice"]


class LayerChoice:
    """Layers given by name, or the ends of a network's last stages.

    Args:
        names: names of layers, the last one last; None to find them.
        count: number of layers needed, and found.
        more: allow naming more layers.

    Raises:
        ValueError: if too few or too many layers are named.
    """

    def __init__(self, names: Sequence[str] | None, count: int, *, more: bool = False) -> None:
        if names is not None and (len(names) < count or (len(names) > count and not more)):
            least = " or more" if more else ""
            raise ValueError(f"layers must name {count} layer(s){least}, the last one last; got {list(names)}")
        self.names, self.count = None if names is None else tuple(names), count

    def __call__(self, model: nn.Module, batch: Batch) -> tuple[str, ...]:
        """Return the names, the last layer last."""
        return self.names or last_stages(model, batch.image, self.count)
