"""Refuse to measure numbers that are not finite: an overlap of nothing would be 0, the best value there is."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["check_finite", "check_logits", "check_weights"]

_MEND = "nothing can be measured; use another checkpoint, or train again with a lower learning rate"


def check_weights(model: nn.Module) -> None:
    """Refuse a network with a parameter that is not finite.

    Raises:
        ValueError: if there is one; the message names it.
    """
    for name, parameter in model.named_parameters():
        check_finite(parameter, f"the network's weights {name!r}")


def check_logits(logits: Tensor) -> None:
    """Refuse logits (B, C) that say nothing: one is NaN or infinite, or all of an image are minus infinity.

    Raises:
        ValueError: if an image has such logits.
    """
    check_finite(logits.detach().amax(1), "the network's answers")  # one of minus infinity is a probability of 0


def check_finite(values: Tensor, what: str) -> None:
    """Refuse values that are NaN or infinite.

    Raises:
        ValueError: if some are; the message starts with `what`.
    """
    if not values.detach().isfinite().all():
        raise ValueError(f"{what} are not finite (NaN or infinity), so {_MEND}")
