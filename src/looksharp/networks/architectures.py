"""A classifier from settings: a backbone, and what is built around it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from looksharp.networks.attend_rectify import AttendAndRectify
from looksharp.networks.attention_branch import AttentionBranchNetwork
from looksharp.networks.backbones.build import build_network
from looksharp.networks.cam import CAMNetwork
from looksharp.networks.spatial_transformer import SpatialTransformer

__all__ = ["ARCHITECTURES", "build_classifier"]

ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "cam": CAMNetwork,
    "attention_branch": AttentionBranchNetwork,
    "attend_rectify": AttendAndRectify,
    "spatial_transformer": SpatialTransformer,
}
"""What may be built around a backbone, by the name that the command line uses: (backbone, image_size=, ...)."""


def build_classifier(
    backbone: str,
    num_classes: int,
    *,
    image_size: tuple[int, int],
    architecture: str = "plain",
    options: Mapping[str, Any] | None = None,
    multilabel: bool = False,
    pretrained: bool = False,
) -> nn.Module:
    """Build a backbone by name, and around it an architecture by name.

    Args:
        backbone: see `build_network`.
        num_classes: number of logits.
        image_size: (height, width) of the images, in pixels.
        architecture: "plain", or one of `ARCHITECTURES`.
        options: the architecture's own arguments.
        multilabel: whether an image may have several classes, where the architecture asks.
        pretrained: see `build_network`.

    Raises:
        ValueError: if there is no such architecture or option, or backbone and architecture do not go together.

    Example:
        >>> type(build_classifier("cifar_resnet20", 10, image_size=(32, 32), architecture="cam")).__name__
        'CAMNetwork'

    """
    options = dict(options or {})
    if architecture == "plain":
        return build_network(backbone, num_classes, pretrained=pretrained)
    if architecture not in ARCHITECTURES:
        known = ", ".join(("plain", *ARCHITECTURES))
        raise ValueError(f"architecture must be one of {known}; got {architecture!r}")
    build = ARCHITECTURES[architecture]
    outputs = num_classes
    if options.get("multitask"):
        if not multilabel:
            raise ValueError(f"{architecture} multitask needs images with several binary labels; these have one class")
        outputs *= 2
    if "multilabel" in inspect.signature(build).parameters:
        options.setdefault("multilabel", multilabel)
    network = build_network(backbone, outputs, pretrained=pretrained)
    try:
        return build(network, image_size=image_size, **options)
    except TypeError as error:
        raise ValueError(f"architecture {architecture!r}: {error}") from None
    except ValueError as error:
        raise ValueError(f"architecture {architecture!r} around backbone {backbone!r}: {error}") from None
