"""The registry of attention mechanisms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator
from torch import Tensor

from looksharp.registry import Registry

__all__ = ["MECHANISMS", "Mechanism", "MechanismChoice", "find_mechanism"]

Mechanism = Callable[[Tensor, Tensor], Tensor]
"""A pure function (features, gradients) -> map; see `looksharp.attention.mechanisms`."""

MECHANISMS: Registry[Mechanism] = Registry("mechanism", "looksharp.attention.mechanisms")
"""Every mechanism by name."""


def find_mechanism(mechanism: str | Mechanism) -> Mechanism:
    """Return the mechanism of that name, or the function itself.

    Raises:
        ValueError: if no mechanism has that name; the message names a close one, or all.
    """
    return mechanism if callable(mechanism) else MECHANISMS.find(mechanism)


def _known(mechanism: str | Mechanism) -> str | Mechanism:
    find_mechanism(mechanism)
    return mechanism


MechanismChoice = Annotated[str | Mechanism, AfterValidator(_known), MECHANISMS]
"""A mechanism as a setting: a name in `MECHANISMS`, or a function. The registry stands there for its names."""
