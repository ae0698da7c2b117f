"""Averages of another mechanism's maps, as mechanisms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from looksharp.attention.attend import attend
from looksharp.attention.mechanisms import (
    Mechanism,
    Spelled,
    check_asked,
    has_sign,
    mechanism_name,
    reads_layers,
)

__all__ = ["averaged"]


@dataclass(frozen=True)
class _Averaged(Spelled):
    """Maps of a mechanism, averaged.

    Attributes:
        mechanism: a mechanism's spelling, or itself.

    """

    mechanism: str | Mechanism

    def _prefixed(self, *words: str) -> str | None:
        name = mechanism_name(self.mechanism)
        return None if name is None else "+".join([*words, name])


class _Smoothed(_Averaged):
    """Average over mirrored and scaled copies of the images, at each layer."""

    @property
    def spelling(self) -> str | None:
        return self._prefixed("smooth")

    def maps(self, model: nn.Module, images: Tensor, classes: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Average the maps; see `average_over_copies`."""
        named, kind = (layers if self.layered else None), self.mechanism
        return attend(model, images, classes, layers=named, mechanism=kind, signed=has_sign(kind), smooth=True).maps


class _SmoothedWhole(_Smoothed):
    """The same of a mechanism that reads no layers."""

    layered = False


@dataclass(frozen=True)
class _Fused(_Averaged):
    """Average over the last two stages.

    Attributes:
        smooth: average over copies of the images first.

    """

    layered = False
    signed = False  # the ReLU comes before

    smooth: bool

    @property
    def spelling(self) -> str | None:
        return self._prefixed("fuse", *(["smooth"] if self.smooth else []))

    def maps(self, model: nn.Module, images: Tensor, classes: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Average the maps; see `fuse_maps`."""
        return attend(model, images, classes, mechanism=self.mechanism, smooth=self.smooth, fuse=True).maps


def averaged(mechanism: str | Mechanism, *, smooth: bool = False, fuse: bool = False) -> str | Mechanism:
    """Return a mechanism whose maps are averages of another's, as `attend` makes them; itself if nothing is averaged.

    It serves wherever maps are measured and cannot be trained on. Fused maps have no sign.

    Args:
        mechanism: spelling of a mechanism, or itself.
        smooth: average over mirrored and scaled copies of the images.
        fuse: average the last two stages into one map; no layer can be chosen then.

    Raises:
        ValueError: if the mechanism is not known, or is to be fused and reads no layers.

    Example:
        >>> import torch
        >>> from looksharp.attention.mechanisms import mechanism_name
        >>> from looksharp.networks import CifarResNet
        >>> both = averaged("layer_cam", smooth=True, fuse=True)
        >>> net, images = CifarResNet(20, 10).eval(), torch.rand(2, 3, 32, 32)
        >>> mechanism_name(both), list(attend(net, images, mechanism=both).maps)
        ('fuse+smooth+layer_cam', ['layer2+layer3'])

    """
    check_asked(mechanism, layers=fuse)
    if fuse:
        return _Fused(mechanism, smooth)
    if smooth:
        return (_Smoothed if reads_layers(mechanism) else _SmoothedWhole)(mechanism)
    return mechanism
