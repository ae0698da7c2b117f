"""Guidance by name: one or several of its losses, as a setting or a flag writes them."""

from __future__ import annotations

from torch import Tensor

from looksharp.attention.mechanisms import Mechanism
from looksharp.objectives.base import Part
from looksharp.objectives.exchange import BackgroundExchange
from looksharp.objectives.guidance import GUIDANCE_LOSSES, Guidance

__all__ = ["EXCHANGES", "guidance_parts"]

EXCHANGES = ("background_exchange", "agreement")
"""The names in a choice of guidance that stand for interventions in training; agreement brings the exchange along."""


def guidance_parts(
    choice: str,
    *,
    mechanism: str | Mechanism = "grad_cam",
    layer: str | None = None,
    warmup: int = 0,
    backgrounds: Tensor | None = None,
) -> list[Part]:
    """The parts of an objective that a choice of guidance stands for.

    Args:
        choice: names joined by "+", each with a weight after a colon where it is not to have its own, such as
            "squared_error" or "background_exchange+agreement:0.5+contrast". The names are those of
            `GUIDANCE_LOSSES` and `EXCHANGES`. "none" asks nothing: guided images come into batches as often as with
            any other choice, and their marks are not used.
        mechanism: how maps are made.
        layer: the layer that is guided; found in the backbone if not given.
        warmup: training steps over which every weight rises from 0.
        backgrounds: surroundings for the exchange, (N, C, H, W); those of other guided images if not given.

    Raises:
        ValueError: if there is no such name, one comes twice, or a weight is not a number of at least 0.

    Example:
        >>> [type(part).__name__ for part in guidance_parts("agreement:0.5+contrast")]
        ['BackgroundExchange', 'Guidance']

    """
    weights = _parsed(choice)
    parts: list[Part] = []
    if not weights.keys().isdisjoint(EXCHANGES):
        agreement = weights.get("agreement", 0.0)
        parts.append(BackgroundExchange(1.0 if agreement is None else agreement, backgrounds, warmup))
    elif backgrounds is not None:
        raise ValueError(f"guidance_backgrounds need background_exchange in guidance_loss; got {choice!r}")
    losses = (name for name in weights if name not in EXCHANGES)
    return parts + [Guidance(name, weights[name], mechanism, layer, warmup) for name in losses]


def _parsed(choice: str) -> dict[str, float | None]:
    """Name -> weight, None where none is given."""
    weights: dict[str, float | None] = {}
    if choice == "none":
        return weights
    for item in choice.split("+"):
        name, _, given = item.strip().partition(":")
        if name not in (*GUIDANCE_LOSSES, *EXCHANGES):
            known = ", ".join((*EXCHANGES, *GUIDANCE_LOSSES))
            raise ValueError(f"guidance_loss must be of {known}, joined by '+'; got {name!r}")
        if name in weights:
            raise ValueError(f"guidance_loss names {name} twice; got {choice!r}")
        if given and name == "background_exchange":
            raise ValueError("guidance_loss background_exchange takes no weight: its copies are images like others")
        weights[name] = _weight(name, given) if given else None
    return weights


def _weight(name: str, given: str) -> float:
    try:
        weight = float(given)
    except ValueError:
        weight = -1.0
    if not 0 <= weight < float("inf"):
        raise ValueError(f"guidance_loss {name} needs a weight of at least 0 after its colon; got {given!r}")
    return weight
