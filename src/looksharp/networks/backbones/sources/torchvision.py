"""Networks of torchvision: `torchvision:NAME`, or `torchvision/NAME` as it was first written."""

from __future__ import annotations

from typing import Any

from torch import nn

from looksharp.networks.backbones.source import NETWORK_SOURCES, Asked, Source, Stated, unknown, unloadable
from looksharp.networks.head_parameters import classifier_of

__all__ = ["Torchvision"]

_PREFIX = "torchvision"
_AUXILIARY = {"googlenet": ("aux1", "aux2"), "inception_v3": ("AuxLogits",)}


class Torchvision(Source):
    """The classifiers of `torchvision.models`.

    Auxiliary classifiers (GoogLeNet, Inception) are left out, so that the output is the logits alone in training mode
    too. These two rescale their input as the published weights need it, with or without those weights.
    """

    def build(self, name: str, asked: Asked) -> nn.Module:
        """Build a network of torchvision."""
        from torchvision import models

        arch = _known(name)
        auxiliary = _AUXILIARY.get(arch, ())
        if asked.pretrained:
            try:
                network: Any = models.get_model(arch, weights="DEFAULT")
            except (OSError, RuntimeError) as error:
                raise unloadable(name, error) from error
            if auxiliary:
                network.aux_logits = False
            for head in auxiliary:
                setattr(network, head, None)
            if asked.num_classes is not None:
                _resize_classifier(network, asked.num_classes)
        else:
            # Both have to be said where there are auxiliary classifiers: the defaults warn.
            options: dict[str, Any] = {"aux_logits": False, "init_weights": True} if auxiliary else {}
            if asked.num_classes is not None:
                options["num_classes"] = asked.num_classes
            network = models.get_model(arch, **options)
        if auxiliary:
            network.transform_input = asked.in_channels == 3  # it rescales the three colours
        if asked.in_channels != 3:
            _resize_input(network, asked.in_channels, asked.pretrained)
        built: nn.Module = network
        return built

    def stated(self, name: str) -> Stated:
        """Return what the published weights' own transform and metadata say."""
        from torchvision import models

        arch = _known(name)
        weights = models.get_model_weights(arch).DEFAULT
        return Stated.of(weights.transforms(), tuple(weights.meta["categories"]), f"torchvision's {weights}")

    def left_out(self, name: str) -> tuple[str, ...]:
        """Return the auxiliary classifiers."""
        return _AUXILIARY.get(_known(name), ())


def _known(name: str) -> str:
    """Return the architecture that a name stands for."""
    from torchvision import models

    arch = name.replace("/", ":", 1).removeprefix(f"{_PREFIX}:")
    known = models.list_models(module=models)  # classification only
    if arch not in known:
        separator = name[len(_PREFIX)]
        raise unknown(name, [f"{_PREFIX}{separator}{other}" for other in known], "take a name of torchvision.models")
    return arch


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


NETWORK_SOURCES.add(_PREFIX, Torchvision())
