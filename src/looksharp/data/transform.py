"""Bring an image and its masks to the size that a network reads."""

from __future__ import annotations

from typing import Any

from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode, v2

from looksharp.data.pixels import Pixels
from looksharp.data.split import Augment

__all__ = ["LARGER", "image_transform", "seen_box"]

LARGER = 8 / 7
"""Size of the images from which crops are cut, as a multiple of the network's: 256 pixels for 224."""
_LONGEST = 16  # times the network's size, of an image from which a crop is cut


def image_transform(pixels: Pixels, augment: Augment = "none") -> v2.Transform:
    """Return a transform that brings an image and its masks to `pixels.size` together.

    Without augmentation: the image is resized to `pixels.resized` by `pixels.fit` and the middle cropped. With
    "resize_crop_flip", it is resized to 8/7 of the size and a crop is drawn: 224 of 256 (ABN Sec. 4.1). Where
    `pixels.fit` is "resize", both sides are resized, so that nothing is cut off but what a share or an augmentation
    asks for.
    """
    size = list(pixels.size)
    if augment == "resize_crop_flip":
        return v2.Compose([_Resize(pixels, _enlarged(pixels)), v2.RandomCrop(size), v2.RandomHorizontalFlip()])
    if augment == "resized_crop_flip":
        mode = _OF_TENSORS.get(pixels.interpolation, InterpolationMode.BICUBIC)
        crop = v2.RandomResizedCrop(size, scale=(0.25, 1.0), interpolation=mode, antialias=True)
        return v2.Compose([crop, v2.RandomHorizontalFlip()])
    resized = pixels.resized if augment == "none" else pixels.size
    steps: list[v2.Transform] = [
        _Resize(pixels, resized),
        _Middle(size) if pixels.middle == "floor" else v2.CenterCrop(size),
    ]
    if augment in ("crop", "crop_flip"):
        steps.append(v2.RandomCrop(size, padding=[max(size[1] // 8, 1), max(size[0] // 8, 1)]))
    if augment in ("flip", "crop_flip"):
        steps.append(v2.RandomHorizontalFlip())
    return v2.Compose(steps)


def seen_box(pixels: Pixels, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return what a network sees of an image of `size` (height, width) that is not augmented.

    Returns:
        Top, left, height and width of the input in pixels of the image; it may reach beyond the image.
    """
    resize = _Resize(pixels, pixels.resized)
    kept = resize.kept(*size)
    resized = resize.resized(*kept)
    corner, shape = [], []
    for whole, left, now, wanted in zip(size, kept, resized, pixels.size, strict=True):
        cut = now - wanted
        start = cut // 2 if pixels.middle == "floor" else round(cut / 2)
        corner.append(round((whole - left) / 2) + start * left / now)
        shape.append(wanted * left / now)
    return corner[0], corner[1], shape[0], shape[1]


def _enlarged(pixels: Pixels) -> tuple[int, int]:
    return round(pixels.size[0] * LARGER), round(pixels.size[1] * LARGER)


class _Resize(v2.Transform):
    """Resize to (height, width) by the rule, filter and library of `pixels`.

    Where proportions are kept, an image that would become more than 16 times as long, such as a line of pixels, is cut
    to its middle first, so that its size is bounded.
    """

    def __init__(self, pixels: Pixels, size: tuple[int, int]) -> None:
        super().__init__()
        self.pixels, self.size = pixels, size

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        """Return one image or mask resized."""
        height, width = inpt.shape[-2:]
        kept = self.kept(height, width)
        if kept != (height, width):
            inpt = v2.functional.center_crop(inpt, list(kept))
        size = self.resized(*kept)
        return inpt if size == list(kept) else _resized(inpt, size, self.pixels)

    def kept(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width of the middle that is resized."""
        if self.pixels.fit == "resize":
            return height, width
        scale = max(self.size[0] / height, self.size[1] / width)
        most = [max(int(_LONGEST * length / scale), 1) for length in self.size]
        return min(height, most[0]), min(width, most[1])

    def resized(self, height: int, width: int) -> list[int]:
        """Return the height and width that an image of this height and width is resized to."""
        if self.pixels.fit == "resize":
            return list(self.size)
        if self.pixels.fit == "crop":
            scale = max(self.size[0] / height, self.size[1] / width)
            return [max(round(height * scale), self.size[0]), max(round(width * scale), self.size[1])]
        if self.size[0] != self.size[1]:  # timm's ResizeKeepRatio
            ratio = min(height / self.size[0], width / self.size[1])
            return [round(height / ratio), round(width / ratio)]
        longer = int(self.size[0] * max(height, width) / min(height, width))  # torchvision's Resize
        return [self.size[0], longer] if height <= width else [longer, self.size[0]]


_OF_TENSORS = {
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
    "nearest": InterpolationMode.NEAREST,
    "nearest-exact": InterpolationMode.NEAREST_EXACT,
}


def _resized(inpt: Tensor, size: list[int], pixels: Pixels) -> Tensor:
    """Return an image resized as `pixels` says, or a mask resized by the nearest pixel."""
    if pixels.resizer == "torch" or isinstance(inpt, tv_tensors.Mask):
        mode = _OF_TENSORS.get(pixels.interpolation, InterpolationMode.BILINEAR)  # which masks do not read
        return v2.functional.resize(inpt, size, interpolation=mode, antialias=pixels.antialias)
    picture = v2.functional.to_pil_image(inpt)
    filtered = picture.resize((size[1], size[0]), Image.Resampling[pixels.interpolation.upper()])
    return tv_tensors.Image(v2.functional.pil_to_tensor(filtered))


class _Middle(v2.Transform):
    """Cut out the middle; of an odd number of pixels cut off, the additional one lies behind it."""

    def __init__(self, size: list[int]) -> None:
        super().__init__()
        self.size = size

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        """Return the middle of one image or mask."""
        top, left = ((length - wanted) // 2 for length, wanted in zip(inpt.shape[-2:], self.size, strict=True))
        return v2.functional.crop(inpt, top, left, *self.size)
