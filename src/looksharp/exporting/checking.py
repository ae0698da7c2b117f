"""Compare what an exported network answers with what looksharp itself computes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from looksharp.exporting.mapped import Mapped

__all__ = ["fitted", "map_difference"]

_ALLOWED = 1e-3
"""Largest difference of a map, as a share of its largest value; another order of sums in float32 makes about 1e-6."""

_ROUNDED = 1e-5
"""Difference, as a share of the largest logit, that rounding makes of maps that are differences of logits."""


@torch.no_grad()
def map_difference(found: Sequence[Tensor], wanted: Sequence[Tensor], what: str) -> float:
    """Return the largest difference of maps, as a share of the largest value of each output.

    Where two classes score alike their order may differ; then their maps are left out.

    Args:
        found: logits (B, C), classes (B, K), and maps and shares (B, ...), of what is to be checked.
        wanted: the same as looksharp computes them.
        what: name of what is checked, for messages.

    Raises:
        ValueError: if logits, classes or maps differ by more than arithmetic explains.
    """
    scale = max(float(wanted[0].abs().max()), 1e-6)
    logits = float((found[0] - wanted[0]).abs().max()) / scale
    scored = (wanted[0].gather(1, pair[1]) for pair in (found, wanted))
    ranked = float(abs(next(scored) - next(scored)).max()) / scale
    if not max(logits, ranked) < _ALLOWED:
        raise ValueError(f"{what} answers otherwise than the run: its logits differ by {max(logits, ranked):.1e}")
    same = (found[1] == wanted[1]).all(1)
    largest = 0.0
    for ours, theirs in zip(found[2:], wanted[2:], strict=True):
        apart = float((ours - theirs)[same].abs().max()) if same.any() else 0.0
        share = apart / (float(theirs.abs().max()) or 1.0)
        if not share < _ALLOWED and not apart < _ROUNDED * scale:
            raise ValueError(f"{what} makes other maps than looksharp: they differ by {share:.1e} of the largest value")
        largest = max(largest, share)
    return largest


@torch.no_grad()
def fitted(inner: Mapped, images: Tensor) -> tuple[Tensor, ...]:
    """Choose the first way in which a forward makes the maps that looksharp makes, and return what it is to answer.

    Args:
        inner: the classifier; its `way` is set.
        images: (B, 3, H, W), normalised.

    Raises:
        ValueError: if there is none, because what follows the layer reads more of an image than is repeated.
    """
    wanted, reasons = inner.expected(images), []
    for way in inner.ways:
        inner.way = way
        try:
            map_difference(inner(images), wanted, "the forward")
        except (AssertionError, RuntimeError, ValueError) as error:
            reasons.append(str(error).splitlines()[0] if str(error) else type(error).__name__)
        else:
            return wanted
    raise ValueError(
        f"mechanism {inner.facts.mechanism!r} cannot be part of the forward at layer {', '.join(inner.facts.layers)}: "
        f"what follows reads more than that layer's output ({reasons[0]:.120}); name a later one by layer"
    )
