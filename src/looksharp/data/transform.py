"""Bring an image and its masks to the size that a network reads."""

from __future__ import annotations

from torch import Tensor
from torchvision.transforms import v2

from looksharp.data.split import Augment, Pixels

__all__ = ["LARGER", "image_transform"]

LARGER = 8 / 7
"""Size of the images from which crops are cut, as a multiple of the network's: 256 pixels for 224."""
_LONGEST = 16  # times the network's size, of an image from which a crop is cut


def image_transform(pixels: Pixels, augment: Augment = "none") -> v2.Transform:
    """Return a transform that brings an image and its masks to `pixels.size` together.

    Without augmentation: the shorter side is resized to fit (or to 1 / `pixels.crop_share` of that) and the middle
    cropped. With "resize_crop_flip", it is resized to 8/7 of the size and a crop is drawn: 224 of 256 (ABN Sec. 4.1).
    Where `pixels.fit` is "resize", both sides are resized, so that nothing is cut off but what a share or an
    augmentation asks for.
    """
    size = list(pixels.size)
    if augment == "resize_crop_flip":
        return v2.Compose([_to(pixels, LARGER), v2.RandomCrop(size), v2.RandomHorizontalFlip()])
    if augment == "resized_crop_flip":
        return v2.Compose([v2.RandomResizedCrop(size, scale=(0.25, 1.0), antialias=True), v2.RandomHorizontalFlip()])
    larger = 1 / pixels.crop_share if augment == "none" else 1.0
    steps: list[v2.Transform] = [_to(pixels, larger), v2.CenterCrop(size)]
    if augment in ("crop", "crop_flip"):
        steps.append(v2.RandomCrop(size, padding=[max(size[1] // 8, 1), max(size[0] // 8, 1)]))
    if augment == "crop_flip":
        steps.append(v2.RandomHorizontalFlip())
    return v2.Compose(steps)


def _to(pixels: Pixels, times: float) -> v2.Transform:
    """Return what resizes an image to the network's size, so many times enlarged."""
    size = _enlarged(pixels.size, times)
    return v2.Resize(list(size), antialias=True) if pixels.fit == "resize" else _Cover(size)


def _enlarged(size: tuple[int, int], times: float) -> tuple[int, int]:
    return round(size[0] * times), round(size[1] * times)


class _Cover(v2.Transform):
    """Resize, keeping proportions, to the smallest size that covers (height, width).

    An image that would become more than 16 times as long, such as a line of pixels, is cut to its middle, so that its
    size is bounded.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def transform(self, inpt: Tensor, params: dict[str, object]) -> Tensor:
        """Return one image or mask resized."""
        height, width = inpt.shape[-2:]
        scale = max(self.size[0] / height, self.size[1] / width)
        most = [max(int(_LONGEST * length / scale), 1) for length in self.size]
        if height > most[0] or width > most[1]:
            height, width = min(height, most[0]), min(width, most[1])
            inpt = v2.functional.center_crop(inpt, [height, width])
        size = [max(round(height * scale), self.size[0]), max(round(width * scale), self.size[1])]
        return inpt if size == [height, width] else v2.functional.resize(inpt, size, antialias=True)
