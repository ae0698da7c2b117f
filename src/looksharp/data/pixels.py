"""The way from an image's pixels to a network's input."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from looksharp.images.depth import ValueRange

__all__ = ["Fit", "Interpolation", "Middle", "Pixels", "Resizer"]

Fit = Literal["crop", "resize", "shorter"]
"""Ways to bring an image file to the network's shape; see `Pixels`."""

Interpolation = Literal["bilinear", "bicubic", "nearest", "nearest-exact", "lanczos", "box", "hamming"]
"""Filters by which images are resized, as torchvision calls them."""

Resizer = Literal["torch", "pil"]
"""Libraries that resize images."""

Middle = Literal["round", "floor"]
"""Ways to round the middle of an image when an odd number of pixels is cut off."""

_FILTERS: dict[Resizer, tuple[Interpolation, ...]] = {
    "torch": ("bilinear", "bicubic", "nearest", "nearest-exact"),
    "pil": ("bilinear", "bicubic", "nearest", "lanczos", "box", "hamming"),
}
_CHOICES = {"fit": Fit, "interpolation": Interpolation, "resizer": Resizer, "middle": Middle}


@dataclass(frozen=True)
class Pixels:
    """The way from pixels to a network's input: size (height, width), then (pixel / 255 - mean) / std per channel.

    Image files are resized to `resized` and their middle of `size` is cut out; everything after `mean` and `std`
    describes that. The defaults are looksharp's own. `looksharp.data.preprocessing` reads the rest from the transform
    of a model that was trained elsewhere, so that it sees the same pixels as there.

    Attributes:
        size: height and width of the network's input.
        mean: mean of each channel.
        std: standard deviation of each channel.
        crop_share: `size` as a share of the size that files which are not augmented are resized to: with 0.875, 224 of
            256 pixels.
        value_range: the values that become black and white in files of more than 8 bits a channel.
        fit: "crop" resizes files of other proportions to cover the size, "resize" brings both sides to it. "shorter"
            covers it too and rounds as timm and torchvision do: in a square the longer side's length is truncated,
            otherwise both sides' are rounded.
        resize_size: height and width to resize to, instead of `size` / `crop_share`; below `size`, black surrounds the
            image.
        interpolation: filter of the resizing; masks are always resized by the nearest pixel.
        resizer: "torch" resizes tensors; "pil" resizes as PIL does, which differs by a level or two of 255 and is what
            most published weights were evaluated with.
        antialias: widen the filter of tensors that are reduced; PIL always does.
        middle: "round" cuts off as torchvision does, "floor" as transformers does.
    """

    size: tuple[int, int]
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    crop_share: float = 1.0
    value_range: ValueRange | None = None
    fit: Fit = "crop"
    resize_size: tuple[int, int] | None = None
    interpolation: Interpolation = "bilinear"
    resizer: Resizer = "torch"
    antialias: bool = True
    middle: Middle = "round"

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            allowed = get_args(choices)
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be {_or(allowed)}; got {getattr(self, name)!r}")
        if not 1 <= min(self.size) <= max(self.size) <= 8192:
            raise ValueError(f"size must be 1 to 8192 px; got {self.size[0]} x {self.size[1]}")
        if not min(self.std) > 0:
            raise ValueError(f"std must be above 0 in every channel; got {', '.join(f'{v:g}' for v in self.std)}")
        if not 0 < self.crop_share <= 1:
            raise ValueError(f"crop_share must be above 0 and at most 1; got {self.crop_share:g}")
        self._check_resizing()

    def _check_resizing(self) -> None:
        if self.resize_size is not None:
            height, width = self.resize_size
            if self.crop_share != 1:
                raise ValueError(f"resize_size takes the place of crop_share; got both, {self.crop_share:g} the latter")
            if not 1 <= min(height, width) <= max(height, width) <= 8192:
                raise ValueError(f"resize_size must be 1 to 8192 px; got {height} x {width}")
            if self.middle == "floor" and (height < self.size[0] or width < self.size[1]):
                raise ValueError(f"middle must be round where resize_size is below size; got {height} x {width}")
        if self.interpolation not in _FILTERS[self.resizer]:
            raise ValueError(
                f"interpolation must be {_or(_FILTERS[self.resizer])} with resizer {self.resizer}; "
                f"got {self.interpolation!r}"
            )
        if self.resizer == "pil" and not self.antialias:
            raise ValueError("antialias is always on with resizer pil; images without it are resized by resizer torch")

    @property
    def resized(self) -> tuple[int, int]:
        """Return the height and width that files which are not augmented are resized to, before their middle is cut."""
        if self.resize_size is not None:
            return self.resize_size
        times = 1 / self.crop_share
        return round(self.size[0] * times), round(self.size[1] * times)

    @property
    def is_cut(self) -> bool:
        """Return True if the network's input is cut out of a larger image."""
        return self.crop_share != 1 or self.resized != self.size

    def whole(self, size: tuple[int, int] | None = None) -> Pixels:
        """Return the way from whole images to a network's input: both sides are resized, and nothing is cut off.

        Args:
            size: height and width of the input; this one's if not given.
        """
        return replace(self, size=size or self.size, fit="resize", crop_share=1.0, resize_size=None)

    def normalize(self, images: Tensor) -> Tensor:
        """Return images (..., 3, H, W) of bytes as the network reads them."""
        mean, std = (torch.tensor(v, device=images.device)[:, None, None] for v in (self.mean, self.std))
        return (images.float() / 255 - mean) / std

    def denormalize(self, images: Tensor) -> Tensor:
        """Return the inverse, as colours in [0, 1]."""
        mean, std = (torch.tensor(v, device=images.device)[:, None, None] for v in (self.mean, self.std))
        return (images * std + mean).clamp(0, 1)


def _or(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"
