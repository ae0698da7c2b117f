"""A classifier from settings: a backbone, and what is built around it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from looksharp.networks.architecture import ARCHITECTURES, BUILT_WITH
from looksharp.networks.backbones.build import build_network
from looksharp.settings import checked_arguments, settings_of

__all__ = ["build_classifier"]


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
        options: the architecture's own settings.
        multilabel: whether an image may have several classes, where the architecture asks.
        pretrained: see `build_network`.

    Raises:
        ValueError: if there is no such architecture or option, or backbone and architecture do not go together.

    Example:
        >>> type(build_classifier("cifar_resnet20", 10, image_size=(32, 32), architecture="cam")).__name__
        'CAMNetwork'

    """
    if architecture == "plain":
        return build_network(backbone, num_classes, pretrained=pretrained)
    if architecture not in ARCHITECTURES:
        known = ", ".join(("plain", *ARCHITECTURES))
        raise ValueError(f"architecture must be one of {known}; got {architecture!r}")
    build = ARCHITECTURES[architecture]
    settings = checked_arguments(build, options or {}, architecture, BUILT_WITH)
    outputs = build.backbone_outputs(num_classes, multilabel, settings)
    told = {"multilabel": multilabel} if "multilabel" in settings_of(build) else {}
    network = build_network(backbone, outputs, pretrained=pretrained)
    try:
        return build(network, image_size=image_size, **told, **settings)
    except ValueError as error:
        raise ValueError(f"architecture {architecture!r} around backbone {backbone!r}: {error}") from None
