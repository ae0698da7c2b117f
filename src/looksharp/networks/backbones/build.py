"""A network from its name: looksharp's own, torchvision's and timm's."""

from __future__ import annotations

import difflib
import re
import textwrap
from functools import partial
from typing import Any

from torch import nn

from looksharp.networks.backbones.families import FAMILIES
from looksharp.networks.head_parameters import classifier_of

__all__ = ["build_network", "network_names"]

_PREFIX = "torchvision/"
_SOURCES = ("hf-hub:", "local-dir:")  # timm's own prefixes
_AUXILIARY = {"googlenet": ("aux1", "aux2"), "inception_v3": ("AuxLogits",)}


def network_names() -> tuple[str, ...]:
    """List looksharp's own networks, with the common sizes of each family.

    `build_network` also knows the families' other sizes, and the networks of torchvision and timm.
    """
    return tuple(sorted(name for family in FAMILIES.values() for name in family.names))


def build_network(
    name: str,
    num_classes: int,
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
    - `torchvision/NAME`: a classifier of `torchvision.models`. Auxiliary classifiers (GoogLeNet, Inception)
      are left out, so that the output is the logits alone in training mode too.
    - anything else: `timm.create_model`, with or without a tag of weights (`resnet50.a1_in1k`), or
      `hf-hub:ID` and `local-dir:PATH`, which timm reads from the Hugging Face Hub and from a folder.

    Pretrained weights come from the library's own download cache or the network. The classifier is new where
    `num_classes` differs from theirs. Where `in_channels` is not 3, timm's rule adapts their first
    convolution: the response to grey images stays.

    Args:
        name: one of the above.
        num_classes: number of logits.
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
        if value < 1:
            raise ValueError(f"{argument} must be at least 1, got {value}; pass {argument} explicitly")
    for pattern, family in FAMILIES.items():
        if match := re.fullmatch(pattern, name):
            if pretrained:
                raise ValueError(f"pretrained weights do not exist for {name!r}; pass pretrained=False")
            return family.build(*map(int, match.groups()), num_classes=num_classes, in_channels=in_channels)
    if name.startswith(_PREFIX):
        return _from_torchvision(name, num_classes, pretrained, in_channels)
    return _from_timm(name, num_classes, pretrained, in_channels, image_size)


def _from_timm(
    name: str, num_classes: int, pretrained: bool, in_channels: int, image_size: tuple[int, int] | None
) -> nn.Module:
    import timm  # here, because it takes seconds

    elsewhere = name.startswith(_SOURCES)
    fixed = False
    if not elsewhere:
        arch = name.partition(".")[0]
        if not timm.is_model(arch):
            raise _unknown(name, [*network_names(), *timm.list_models()])
        try:
            weights = timm.get_pretrained_cfg(name)
        except RuntimeError as exc:  # the architecture is known, its tag is not
            raise _unknown(name, timm.list_pretrained(f"{arch}.*")) from exc
        if pretrained and weights is not None and not weights.has_weights:
            raise ValueError(f"pretrained weights do not exist for {name!r}; pass pretrained=False")
        fixed = weights is not None and weights.fixed_input_size and image_size not in (None, weights.input_size[1:])
    build = partial(timm.create_model, name, pretrained=pretrained, num_classes=num_classes, in_chans=in_channels)
    try:
        network: nn.Module = build()
        # Some take any size as they are; others have to be told.
        if fixed and getattr(getattr(network, "patch_embed", None), "strict_img_size", True):
            network = build(img_size=image_size)
    except (OSError, RuntimeError) as exc:
        if pretrained or elsewhere:
            raise _unloadable(name, exc) from exc
        raise
    return network


def _from_torchvision(name: str, num_classes: int, pretrained: bool, in_channels: int) -> nn.Module:
    from torchvision import models

    arch = name.removeprefix(_PREFIX)
    known = models.list_models(module=models)  # classification only
    if arch not in known:
        raise _unknown(name, [_PREFIX + other for other in known])
    auxiliary = _AUXILIARY.get(arch, ())
    if pretrained:
        try:
            network = models.get_model(arch, weights="DEFAULT")
        except (OSError, RuntimeError) as exc:
            raise _unloadable(name, exc) from exc
        if auxiliary:
            network.aux_logits = False
        for head in auxiliary:
            setattr(network, head, None)
        _resize_classifier(network, num_classes)
    else:
        # Both have to be said where there are auxiliary classifiers: the defaults warn.
        options: dict[str, Any] = {"aux_logits": False, "init_weights": True} if auxiliary else {}
        network = models.get_model(arch, num_classes=num_classes, **options)
    if in_channels != 3:
        _resize_input(network, in_channels, pretrained)
        if auxiliary:
            network.transform_input = False  # it rescales the three colours
    return network


def _resize_classifier(network: nn.Module, num_classes: int) -> None:
    """Replace the classifier unless its size fits."""
    name, old = classifier_of(network)
    bias = old.bias is not None
    if isinstance(old, nn.Conv2d):
        if old.out_channels != num_classes:
            network.set_submodule(name, nn.Conv2d(old.in_channels, num_classes, 1, bias=bias))
    elif old.out_features != num_classes:
        network.set_submodule(name, nn.Linear(old.in_features, num_classes, bias))


def _resize_input(network: nn.Module, in_channels: int, pretrained: bool) -> None:
    """Give the first convolution `in_channels`: pretrained weights adapted by timm's rule, or new ones."""
    from timm.models import adapt_input_conv

    conv = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    if pretrained:
        conv.weight = nn.Parameter(adapt_input_conv(in_channels, conv.weight.detach()))
    else:
        conv.weight = nn.Parameter(conv.weight.new_empty(conv.out_channels, in_channels, *conv.kernel_size))
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    conv.in_channels = in_channels


def _unknown(name: str, known: list[str]) -> ValueError:
    close = ", ".join(map(repr, difflib.get_close_matches(name.lower(), known, n=3)))
    own = ", ".join(network_names())
    mend = f"did you mean {close}?" if close else f"take {own}, 'torchvision/NAME' or one of timm.list_models()"
    return ValueError(f"backbone {name!r} is not known; {mend}")


def _unloadable(name: str, exc: Exception) -> ValueError:
    reason = textwrap.shorten(f"{type(exc).__name__}: {exc}", 160, placeholder=" ...")
    return ValueError(
        f"the weights of {name!r} could not be loaded ({reason}); "
        f"they need network access or a local cache of the download"
    )
