"""Sources of networks, such as timm, torchvision, transformers and a user's own code; each is one file."""

from __future__ import annotations

import difflib
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from looksharp.registry import Registry

if TYPE_CHECKING:
    from looksharp.data.pixels import Pixels

__all__ = ["NETWORK_SOURCES", "Asked", "Source", "Stated", "unknown", "unloadable"]


@dataclass(frozen=True)
class Asked:
    """The network that is asked of a source.

    Attributes:
        num_classes: number of logits; None for the source's own number.
        pretrained: load the published weights.
        in_channels: channels of the images.
        image_size: (height, width) of the images, in pixels; None for the source's own size.
    """

    num_classes: int | None
    pretrained: bool = False
    in_channels: int = 3
    image_size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Stated:
    """The configuration that a source has beside a network's weights.

    Attributes:
        pixels: the way from images to the network's input; None if the source does not say.
        classes: names of the classes of the published weights; none if the source does not say.
        origin: where that is written, for messages.
        lost: why the source's own transform cannot be reproduced, and the flags that state it; empty if it can.
    """

    pixels: Pixels | None = None
    classes: tuple[str, ...] = ()
    origin: str = ""
    lost: str = ""

    @classmethod
    def of(cls, transform: object, classes: tuple[str, ...], origin: str) -> Stated:
        """Return what a source's own evaluation transform says; see `looksharp.data.preprocessing.read_pixels`."""
        from looksharp.data.preprocessing.reading import read_pixels  # here, since it loads torchvision
        from looksharp.data.preprocessing.refusal import Irreproducible

        try:
            return cls(read_pixels(transform), classes, origin)
        except Irreproducible as error:
            return cls(None, classes, origin, str(error))


class Source(ABC):
    """Makes networks by name; registered in `NETWORK_SOURCES` under the prefix of its names."""

    @abstractmethod
    def build(self, name: str, asked: Asked) -> nn.Module:
        """Build the network of that name, prefix included.

        Raises:
            ValueError: if there is no such network, or its weights cannot be loaded.
        """

    def stated(self, name: str) -> Stated:
        """Return the configuration beside the published weights of that name; by default none."""
        return Stated()

    def carried(self, network: nn.Module) -> Stated | None:
        """Return the configuration that a network of this source has with it; None for other networks."""
        return None

    def located(self, name: str) -> str:
        """Return the name as it holds in every working folder."""
        return name

    def left_out(self, name: str) -> tuple[str, ...]:
        """Return the modules of the published network that `build` leaves out, such as auxiliary classifiers."""
        return ()


NETWORK_SOURCES: Registry[Source] = Registry("source of networks", "looksharp.networks.backbones")
"""Every source by the prefix of its names, which stands before a colon."""


def unknown(name: str, known: Iterable[str], else_take: str) -> ValueError:
    """Return the error for a name that a source does not know, with those that are close."""
    close = ", ".join(map(repr, difflib.get_close_matches(name.lower(), list(known), n=3)))
    return ValueError(f"backbone {name!r} is not known; {f'did you mean {close}?' if close else else_take}")


def unloadable(name: str, error: Exception) -> ValueError:
    """Return the error for weights that could not be loaded."""
    reason = textwrap.shorten(f"{type(error).__name__}: {error}", 160, placeholder=" ...")
    return ValueError(
        f"the weights of {name!r} could not be loaded ({reason}); "
        f"they need network access or a local cache of the download"
    )
