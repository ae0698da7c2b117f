"""Build a classifier from settings: a backbone, and an architecture around it."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from looksharp.networks.architecture import ARCHITECTURES, BUILT_WITH
from looksharp.networks.backbones.build import build_network
from looksharp.networks.head_parameters import classifier_of
from looksharp.settings import checked_arguments

__all__ = ["build_classifier"]


def build_classifier(
    backbone: str,
    num_classes: int,
    *,
    image_size: tuple[int, int],
    architecture: str = "plain",
    options: Mapping[str, object] | None = None,
    multilabel: bool = False,
    pretrained: bool = False,
    weights: Mapping[str, Tensor] | None = None,
) -> nn.Module:
    """Build a backbone by name, and around it an architecture by name.

    Args:
        backbone: see `build_network`.
        num_classes: number of logits.
        image_size: (height, width) of the images, in pixels.
        architecture: "plain", or one of `ARCHITECTURES`.
        options: the architecture's own settings.
        multilabel: True if an image may have several classes; read by some architectures.
        pretrained: see `build_network`.
        weights: state of a trained backbone to start from, loaded before anything is built around it. The classifier is
            new if its number of outputs differs.

    Raises:
        ValueError: if there is no such architecture or option, backbone and architecture do not go together, or the
            weights are of another backbone.

    Example:
        >>> type(build_classifier("cifar_resnet20", 10, image_size=(32, 32), architecture="cam")).__name__
        'CAMNetwork'

    """
    if architecture == "plain":
        return _started_network(backbone, num_classes, image_size, pretrained, weights, 3)
    if architecture not in ARCHITECTURES:
        known = ", ".join(("plain", *ARCHITECTURES))
        raise ValueError(f"architecture must be one of {known}; got {architecture!r}")
    build = ARCHITECTURES[architecture]
    settings = checked_arguments(build, options or {}, architecture, BUILT_WITH)
    outputs = build.backbone_outputs(num_classes, multilabel, settings)
    network = _started_network(backbone, outputs, image_size, pretrained, weights, build.in_channels)
    try:
        built = build(network, image_size=image_size, **settings)
    except ValueError as error:
        raise ValueError(f"architecture {architecture!r} around backbone {backbone!r}: {error}") from None
    built.multilabel = multilabel
    return built


def _started_network(
    name: str,
    outputs: int,
    image_size: tuple[int, int],
    pretrained: bool,
    weights: Mapping[str, Tensor] | None,
    in_channels: int,
) -> nn.Module:
    network = build_network(name, outputs, pretrained=pretrained, in_channels=in_channels, image_size=image_size)
    if weights is None:
        return network
    own, classifier = network.state_dict(), classifier_of(network)[0]
    new = {key for key in own if key.rpartition(".")[0] == classifier and _misfits(own[key], weights.get(key))}
    known = {key: value for key, value in weights.items() if key not in new}
    other = next((key for key in own.keys() - new if _misfits(own[key], known.get(key))), None)
    other = other or next((key for key in known if key not in own), None)
    if other is not None:
        raise ValueError(f"weights are of another network than backbone {name!r}: {other} does not fit")
    network.load_state_dict(known | {key: own[key] for key in new})
    return network


def _misfits(own: Tensor, given: Tensor | None) -> bool:
    return given is None or given.shape != own.shape
