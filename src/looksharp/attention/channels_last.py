"""The memory format in which a network runs fastest on a processor."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from looksharp.attention.recording import unwrapped

__all__ = ["fastest_format"]

# By network and size of its images: what was found, since it costs a forward of one image.
_FOUND: WeakKeyDictionary[nn.Module, dict[torch.Size, torch.memory_format]] = WeakKeyDictionary()


def fastest_format(model: nn.Module, image: Tensor) -> torch.memory_format:
    """Return the memory format of images and maps in which a model runs fastest.

    A processor pools and convolves maps whose channels come last in memory faster: residual networks, VGG, DenseNet,
    EfficientNet and MobileNet take .43 to .88 of the time. ConvNeXt, whose layer normalisation permutes its maps,
    takes 1.0 to 1.2 of it, and a transformer gains nothing, so networks with layer normalisation keep the format that
    they are given. So do those on an accelerator, where it was not measured, and those whose code cannot take the
    other format, such as a `view` that joins channels and positions. No value changes but for rounding.

    Args:
        model: a classifier in evaluation mode.
        image: (1, C, H, W).

    Example:
        >>> from looksharp.networks import SmallNet
        >>> fastest_format(SmallNet(10).eval(), torch.rand(1, 3, 28, 28))
        torch.channels_last

    """
    network = unwrapped(model)
    if image.device.type != "cpu" or any(isinstance(module, nn.LayerNorm) for module in network.modules()):
        return torch.preserve_format
    found = _FOUND.setdefault(network, {})
    if image.shape not in found:
        found[image.shape] = torch.channels_last if _runs(model, image) else torch.preserve_format
    return found[image.shape]


@torch.no_grad()
def _runs(model: nn.Module, image: Tensor) -> bool:
    try:
        model(image.contiguous(memory_format=torch.channels_last))
    except RuntimeError:
        return False
    return True
