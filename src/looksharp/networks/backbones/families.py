"""Networks of this library by their names, a family at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from looksharp.registry import Registry

__all__ = ["FAMILIES", "Family"]


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
