"""Layouts of a layer's output: (B, C, h, w), channels last, or tokens with a prefix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn

__all__ = ["Layout", "layout_of", "pair"]


def pair(size: int | Sequence[int]) -> tuple[int, int]:
    """Return (height, width): one number twice, or two as they are."""
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


_ELSEWHERE = {
    "EfficientViM": "states of a state-space model",
    "EfficientViMDistilled": "states of a state-space model",
    "PerceiverEmbeddings": "latents of a Perceiver",
    "PerceiverEncoder": "latents of a Perceiver",
}
"""Classes of modules whose tokens are no patches, though their number may well fit a grid -> their tokens."""


@dataclass(frozen=True)
class Layout:
    """A layout and its inverse: `from_map(to_map(output), output)` is `output`.

    Attributes:
        kind: "NCHW", "NHWC" or "tokens" (B, N, C).
        prefix: tokens before the image's, which have no place in a map.
        grid: rows and columns of the image's tokens.
        order: the place, in the output, of each token of the grid, row by row; None where that is their order.

    """

    kind: str
    prefix: int = 0
    grid: tuple[int, int] = (0, 0)
    order: Tensor | None = None

    def to_map(self, output: Tensor) -> Tensor:
        """Return the map (B, C, h, w) in a layer's output, as a view."""
        if self.kind == "tokens":
            tokens = output[:, self.prefix :]  # (B, N, C)
            if self.order is not None:
                tokens = tokens[:, self.order.to(tokens.device)]
            return tokens.transpose(1, 2).unflatten(2, self.grid)
        return output.permute(0, 3, 1, 2) if self.kind == "NHWC" else output

    def from_map(self, features: Tensor, output: Tensor) -> Tensor:
        """Return the layer's `output` with `features` (B, C, h, w) in place of its map."""
        if self.kind == "tokens":
            tokens = features.flatten(2).transpose(1, 2)  # (B, N, C)
            if self.order is not None:
                tokens = tokens[:, self.order.argsort().to(tokens.device)]
            return torch.cat([output[:, : self.prefix], tokens], 1) if self.prefix else tokens
        return features.permute(0, 2, 3, 1) if self.kind == "NHWC" else features


def layout_of(network: nn.Module, layer: str, output: Tensor, image_size: tuple[int, int] | None) -> Layout:
    """Find the layout of `output`, which the module named `layer` returned for images of (height, width).

    Raises:
        ValueError: if the output has no positions, or its tokens fit no grid of the image's shape.

    """
    if output.ndim == 4:
        last = _is_channels_last(network, layer) or _fits_as_channels_last(output, image_size)
        return Layout("NHWC" if last else "NCHW")
    if output.ndim != 3:
        raise ValueError(
            f"layer {layer!r} returns a tensor of shape {tuple(output.shape)}; "
            f"a map needs (B, C, h, w), (B, h, w, C) or tokens (B, N, C)"
        )
    for owner in _owners(network, layer):
        if type(owner).__name__ in _ELSEWHERE:
            what = _ELSEWHERE[type(owner).__name__]
            raise ValueError(f"layer {layer!r} returns {what}, which have no place in the image")
    windows = _windows(network, layer, output.shape[1])
    if windows is not None:
        return windows
    known = _nearest(network, layer, "num_prefix_tokens")
    height, width = image_size or (1, 1)
    # A network that has prefix tokens may add them after its first layers.
    for prefix in range(9) if known is None else (int(str(known)), 0):
        tokens = output.shape[1] - prefix
        rows = round(math.sqrt(max(tokens, 0) * height / width))
        if rows and rows * round(rows * width / height) == tokens:
            return Layout("tokens", prefix, (rows, tokens // rows))
    raise ValueError(
        f"layer {layer!r} returns {output.shape[1]} tokens, which fit no grid of the shape of a "
        f"{height}x{width} image; record a layer whose tokens are image patches"
    )


def _windows(network: nn.Module, layer: str, tokens: int) -> Layout | None:
    """Return the layout of Hiera's blocks, whose tokens lie window within window; None for other layers.

    What its pooling is still to unite lies at equal places of equal parts of the tokens (timm's `Unroll`).

    Raises:
        ValueError: if a layer within a block has other tokens than its stage.
    """
    owners = _owners(network, layer)
    if not any(type(owner).__name__ in ("HieraBlock", "HieraStage", "HieraLayer") for owner in owners):
        return None
    holders = chain.from_iterable((owner, getattr(owner, "reroll", None)) for owner in reversed(owners))
    schedules = (getattr(holder, "schedule", None) for holder in holders)
    schedule = next((found for found in schedules if isinstance(found, dict)), {})
    for strides, size in schedule.values():
        if math.prod(size) == tokens and len(size) == 2:
            rows, columns = (int(side) for side in size)
            order = torch.arange(tokens).view(rows, columns)[None]  # (windows, rows, columns)
            for down, across in strides:
                rows, columns = rows // down, columns // across
                order = order.view(-1, rows, down, columns, across).permute(0, 2, 4, 1, 3).reshape(-1, rows, columns)
            return Layout("tokens", 0, (int(size[0]), int(size[1])), order.flatten().argsort())
    raise ValueError(f"layer {layer!r} returns {tokens} tokens in an order that is not known; record a whole block")


def _is_channels_last(network: nn.Module, layer: str) -> bool:
    module = network.get_submodule(layer)
    if isinstance(module, nn.LayerNorm | nn.Linear) and not type(module).__name__.endswith("2d"):
        return True  # they work on the last dimension, so that one is the channels
    if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
        return False  # these on the second one, also inside a channels-last network
    # timm's networks say so themselves; torchvision's Swin is the one channels-last network there.
    return _nearest(network, layer, "output_fmt") == "NHWC" or any(
        type(owner).__name__ == "SwinTransformer" for owner in _owners(network, layer)
    )


def _fits_as_channels_last(output: Tensor, image_size: tuple[int, int] | None) -> bool:
    """Return True if a map has the image's shape with its channels last alone, as inside timm's SAM."""
    if image_size is None:
        return False
    height, width = image_size
    first, second, third = (int(side) for side in output.shape[1:])
    return abs(second * width / height - third) > 1 and abs(first * width / height - second) < 1


def _nearest(network: nn.Module, layer: str, attribute: str) -> object:
    """Return the attribute of `layer`, or of the innermost module around it that has one; else None."""
    found = (getattr(owner, attribute, None) for owner in reversed(_owners(network, layer)))
    return next((value for value in found if value is not None), None)


def _owners(network: nn.Module, layer: str) -> list[nn.Module]:
    parts = layer.split(".")
    return [network.get_submodule(".".join(parts[:depth])) for depth in range(len(parts) + 1)]
