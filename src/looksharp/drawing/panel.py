"""One map to be drawn over an image."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["Panel"]


@dataclass(frozen=True, eq=False)
class Panel:
    """A map to draw over an image, and the text beside it.

    Attributes:
        title: the class and its probability.
        attention: the map (h, w), raw: not normalised, any size; None if there is none to show.
        emphasis: True for the true class, framed in red as in ICASC's figures.
        caption: a smaller line below.

    Example:
        >>> import torch
        >>> Panel("seven .98", torch.zeros(6, 6), emphasis=True).remark
        'no evidence'

    """

    title: str
    attention: Tensor | None
    emphasis: bool = False
    caption: str = ""

    @property
    def remark(self) -> str:
        """Say why there is nothing to colour: "no map", "not a number", "no evidence"; "" for a map to be drawn."""
        if self.attention is None:
            return "no map"
        if not self.attention.isfinite().all():
            return "not a number"
        return "" if self.attention.any() else "no evidence"
