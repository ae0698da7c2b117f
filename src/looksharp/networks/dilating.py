"""Keep the resolution of a network's last stages, and dilate the convolutions that follow."""

from __future__ import annotations

from contextlib import ExitStack
from typing import NamedTuple

import torch
from torch import Tensor, nn

from looksharp.attention.probing import untouched_forward
from looksharp.attention.threads import hook_here
from looksharp.networks.cutting import keep_size

__all__ = ["dilate"]

_Layer = nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d


class _Sizes(NamedTuple):
    """A layer and the heights of its input and output."""

    layer: _Layer
    before: int
    after: int


def dilate(network: nn.Module, image_size: tuple[int, int], stride: int = 8) -> None:
    """Take the last strides out of a network of convolutions, in place, weights and receptive fields kept.

    Chen et al. 2015, "Semantic Image Segmentation with Deep Convolutional Nets and Fully Connected CRFs", Sec. 3.1: the
    layers that halve the resolution for the last time skip no position any more; each convolution behind one of them is
    dilated by 2, behind two by 4. Pooling goes on at stride 1, over 3 x 3 positions where it was over 2 x 2.

    Args:
        network: the network.
        image_size: (height, width) in pixels at which the resolutions are found.
        stride: most pixels of the image, a side, for one position; lower resolutions but the first are done without.

    Raises:
        ValueError: if no resolution can be done without.
    """
    layers = _sizes(network, image_size)
    heights = sorted({each.after for each in layers.values()}, reverse=True)
    removed = [height for height in heights[1:] if round(image_size[0] / height) > stride]
    if not heights or (not removed and round(image_size[0] / heights[-1]) > stride):
        raise ValueError(
            f"{type(network).__name__} has no convolutions of falling resolution, so none of its stages can be dilated"
        )
    for name, each in layers.items():
        factor = 1
        for height in removed:
            if height >= each.before:
                factor *= round(heights[heights.index(height) - 1] / height)
        skips = each.after in removed and each.before > each.after
        if isinstance(each.layer, nn.Conv2d):
            _dilate_convolution(network, name, each.layer, factor, skips)
        elif skips:
            _pool_everywhere(each.layer)


def _sizes(network: nn.Module, image_size: tuple[int, int]) -> dict[str, _Sizes]:
    """Return the convolutions and pooling layers that read a map, with its heights, in the order of their calls."""
    found: dict[str, _Sizes] = {}
    with ExitStack() as stack:
        for name, module in network.named_modules():
            if not isinstance(module, _Layer):
                continue

            def note(
                layer: nn.Module, given: tuple[Tensor, ...], output: Tensor, name: str = name, module: _Layer = module
            ) -> None:
                if given[0].shape[-2:] != (1, 1) and output.shape[-2:] != (1, 1):  # no map: squeeze-and-excitation
                    found[name] = _Sizes(module, given[0].shape[-2], output.shape[-2])

            hook_here(stack, module.register_forward_hook, note)
        device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
        untouched_forward(network, torch.zeros(2, 3, *image_size, device=device))
    return found


def _dilate_convolution(network: nn.Module, name: str, layer: nn.Conv2d, factor: int, skips: bool) -> None:
    if skips:
        layer.stride = (1, 1)
    if factor > 1 and max(layer.kernel_size) > 1:
        layer.dilation = (layer.dilation[0] * factor, layer.dilation[1] * factor)
    if skips or (factor > 1 and max(layer.kernel_size) > 1):
        keep_size(network, name, layer)


def _pool_everywhere(layer: nn.MaxPool2d | nn.AvgPool2d) -> None:
    side = layer.kernel_size if isinstance(layer.kernel_size, int) else max(layer.kernel_size)
    side += 1 - side % 2  # an even window has no middle
    layer.kernel_size, layer.stride, layer.padding, layer.ceil_mode = side, 1, side // 2, False
    if isinstance(layer, nn.AvgPool2d):
        layer.count_include_pad = False
