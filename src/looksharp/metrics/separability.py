"""How far the attention of confused classes overlaps, and how consistent it is across layers."""

from __future__ import annotations

from torch import Tensor

from looksharp.losses import separation_and_consistency

__all__ = ["separability"]


def separability(inner: Tensor, last: Tensor) -> dict[str, Tensor]:
    """ICASC's attention terms as measurements, per image.

    ICASC Eq. 3 to 5, with the paper's sigma 0.55 and omega 100.

    Args:
        inner: raw maps (B, T + 1, h, w) at the inner layer, the most confusing class's last.
        last: raw maps (B, T + 1, h', w') at the last layer.

    Returns:
        "overlap_inner", "overlap_last": L_AS in [0, 1], lower is better separated; "consistency": the share of the
        inner layer's attention within the last layer's target region, in [0, 1], higher is better. Each (B, T).
    """
    terms = separation_and_consistency(inner, last, theta=0.0)
    return {
        "overlap_inner": terms["separation_inner"],
        "overlap_last": terms["separation_last"],
        "consistency": -terms["consistency"],
    }
