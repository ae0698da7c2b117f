"""Networks of this library by their names, a family at a time."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from looksharp.registry import Registry

__all__ = ["FAMILIES", "Family", "family_of", "network_names"]


@dataclass(frozen=True)
class Family:
    """A family of networks whose names differ only in numbers.

    Attributes:
        build: function that makes one from the numbers in its name, `num_classes` and `in_channels`.
        names: the common names.
    """

    build: Callable[..., nn.Module]
    names: tuple[str, ...]


FAMILIES: Registry[Family] = Registry("backbone family", "looksharp.networks.backbones")
"""Every family by the regular expression of its names, whose groups are the numbers."""


def family_of(name: str) -> str | None:
    """Return the pattern of the family that a name belongs to; None if it is none of looksharp's own."""
    return next((pattern for pattern in FAMILIES if re.fullmatch(pattern, name)), None)


def network_names() -> tuple[str, ...]:
    """List looksharp's own networks, with the common sizes of each family.

    `build_network` also knows the families' other sizes, and the networks of other sources.
    """
    return tuple(sorted(name for family in FAMILIES.values() for name in family.names))
