"""A network from its name: looksharp's own, or one of a source such as timm, torchvision or your own code."""

from __future__ import annotations

from torch import nn

from looksharp.networks.backbones.families import family_of, network_names
from looksharp.networks.backbones.source import NETWORK_SOURCES, Asked, Source, Stated

__all__ = ["build_network", "carried", "is_own_code", "network_names", "source_of"]


def build_network(
    name: str,
    num_classes: int | None,
    *,
    pretrained: bool = False,
    in_channels: int = 3,
    image_size: tuple[int, int] | None = None,
) -> nn.Module:
    """Build a classifier that maps images (B, in_channels, H, W) to logits (B, num_classes).

    Names, in the order in which they are tried:

    - `small`, `small_deep`: `SmallNet`; `clutter_cnn`: `ClutterNet`.
    - `cifar_resnet20` and any other depth 6n + 2: `CifarResNet`; `cifar_resnet110_bottleneck`, of any such depth:
      `cifar_bottleneck_resnet`.
    - `cifar_resnext29_8x64`: `cifar_resnext` of depth 29, or any other 9n + 2, with 8 groups of 64 channels.
    - `cifar_wrn28_10`: `CifarWideResNet` of depth 28, or any other 6n + 4, and width 10; `cifar_wrn28_10_drop30`: the
      same with dropout of 30%.
    - `cifar_densenet100_12`: `cifar_densenet` of depth 100, or any other 6n + 4, and growth 12.
    - `torchvision:NAME` or `torchvision/NAME`: a classifier of `torchvision.models`. Auxiliary classifiers (GoogLeNet,
      Inception) are left out, so that the output is the logits alone in training mode too.
    - `hf:NAME` or `hf:FOLDER`: an image classifier of transformers, from the Hugging Face Hub or a folder.
    - `hf-hub:ID` and `local-dir:PATH`: what timm reads from the Hugging Face Hub and from a folder.
    - `package.module:function`: your own code, which returns an `nn.Module`; see `OwnCode`.
    - anything else: `timm.create_model`, with or without a tag of weights (`resnet50.a1_in1k`).

    Pretrained weights come from the library's own download cache or the network. The classifier is new where
    `num_classes` differs from theirs. Where `in_channels` is not 3, timm's rule adapts their first
    convolution: the response to grey images stays.

    Args:
        name: one of the above.
        num_classes: number of logits; None for the source's own number, which looksharp's own networks do not have.
        pretrained: load the library's default weights for the name, or those of its tag.
        in_channels: channels of the images.
        image_size: (height, width) of the images, in pixels, for networks of timm that are built for one size (vision
            transformers); their own size if not given.

    Raises:
        ValueError: if the name is not known (the message lists close ones), if `num_classes` or
            `in_channels` is below 1, or if pretrained weights do not exist or cannot be loaded.

    Example:
        >>> net = build_network("cifar_resnet20", num_classes=10)
        >>> sum(parameter.numel() for parameter in net.parameters())
        269722

    """
    for argument, value in (("num_classes", num_classes), ("in_channels", in_channels)):
        if value is not None and value < 1:
            raise ValueError(f"{argument} must be at least 1, got {value}; pass {argument} explicitly")
    return source_of(name).build(name, Asked(num_classes, pretrained, in_channels, image_size))


def source_of(name: str) -> Source:
    """Return the source that a name belongs to; timm's has no prefix."""
    if family_of(name) is not None:
        return NETWORK_SOURCES["looksharp"]
    prefix, colon, _ = name.replace("torchvision/", "torchvision:", 1).partition(":")
    if not colon:
        return NETWORK_SOURCES["timm"]
    return NETWORK_SOURCES.get(prefix) or NETWORK_SOURCES["code"]


def carried(network: nn.Module) -> Stated:
    """Return the configuration that a network in hand has with it, of whatever source it is."""
    found = (source.carried(network) for source in dict.fromkeys(NETWORK_SOURCES.values()))
    return next((stated for stated in found if stated is not None), Stated())


def is_own_code(name: str) -> bool:
    """Return True for `package.module:function`."""
    return source_of(name) is NETWORK_SOURCES["code"]
