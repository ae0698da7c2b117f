"""Lay attention over an image as colour: strong where a network looks, the image itself elsewhere."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from looksharp.attention.maps import resize_maps
from looksharp.drawing.panel import Panel

__all__ = ["common_scale", "draw_outline", "draw_panel", "layer", "overlay", "picture", "scale_colors"]

Pixels = npt.NDArray[np.uint8]
_Floats = npt.NDArray[np.float32]

_SIDE = 192  # an image smaller than this is enlarged, by a whole factor, as far as it fits
_OPACITY = 0.85  # of the strongest attention
_GREY = torch.tensor([0.299, 0.587, 0.114])[:, None, None]  # luma, ITU-R BT.601


def overlay(image: Tensor, attention: Tensor, peak: float | None = None, *, signed: bool | None = None) -> Pixels:
    """Draw attention over an image: colour shows its amount, and opacity grows with it.

    Unattended parts stay as they are in the image. A map without negative values is coloured by a perceptual
    sequential scale (purple to yellow); one with negative values by a diverging scale centred on zero, red for
    the class and blue against it. A map that is zero everywhere shows the image in grey, since it holds no
    evidence to stretch.

    Args:
        image: colours (3, H, W) in [0, 1].
        attention: raw map (h, w), resized bilinearly.
        peak: magnitude shown at full strength; the map's largest if not given. Pass the same peak for maps to be
            compared.
        signed: use the diverging scale; if not given, it is used for maps with negative values.

    Returns:
        (H', W', 3) bytes, H' and W' the image's size times the whole number of `picture`.

    Raises:
        ValueError: if a shape is wrong, colours lie outside [0, 1], the map or the peak is not finite, or the
            peak of a map that is not zero is not positive.

    Example:
        >>> overlay(torch.rand(3, 48, 48), torch.rand(6, 6)).shape
        (192, 192, 3)

    """
    attention = _checked(attention)
    if not attention.any():
        return picture(image, grey=True)
    under = picture(image)
    height, width, _ = under.shape
    strength, signed = _strength(attention, (height, width), peak, signed)
    colours = under.astype(np.float32) / np.float32(255)
    return _to_bytes(_blend(colours, strength, signed))


def layer(attention: Tensor, size: tuple[int, int], peak: float | None = None, *, signed: bool | None = None) -> Pixels:
    """Return what `overlay` lays over an image, apart from the image: colours and their opacity.

    Args:
        attention: raw map (h, w), resized bilinearly.
        size: (H, W) of the layer.
        peak: see `overlay`.
        signed: see `overlay`.

    Returns:
        (H, W, 4) bytes; transparent throughout where the map is zero everywhere.

    Raises:
        ValueError: as `overlay`.

    Example:
        >>> layer(torch.tensor([[0.0, 1.0]]), (1, 2))[0, :, 3]
        array([  0, 217], dtype=uint8)

    """
    attention = _checked(attention)
    if not attention.any():
        return np.zeros((*size, 4), np.uint8)
    strength, signed = _strength(attention, size, peak, signed)
    colours, opacity = _colours(strength, signed)
    return _to_bytes(np.concatenate([colours, opacity], -1))


def _checked(attention: Tensor) -> Tensor:
    """Return a map on the CPU in single precision."""
    if attention.ndim != 2:
        raise ValueError(f"attention must be one map (h, w); got shape {tuple(attention.shape)}")
    attention = attention.detach().cpu().float()
    if not attention.isfinite().all():
        raise ValueError("attention must be finite; got NaN or infinity")
    return attention


def _strength(
    attention: Tensor, size: tuple[int, int], peak: float | None, signed: bool | None
) -> tuple[_Floats, bool]:
    """Return a map that is not zero at a size, in [0, 1] or signed in [-1, 1], and whether it is signed."""
    if peak is None:
        peak = attention.abs().max().item()
    if not 0 < peak < float("inf"):
        raise ValueError(f"peak must be positive and finite; got {peak}")
    if signed is None:
        signed = bool((attention < 0).any())
    return (resize_maps(attention[None], size)[0] / peak).clamp(-1 if signed else 0, 1).numpy(), signed


def picture(image: Tensor, *, grey: bool = False) -> Pixels:
    """Convert an image (3, H, W) in [0, 1] to bytes (H', W', 3), enlarged by the largest whole factor within 192 px.

    Raises:
        ValueError: if the image is not three channels of colours in [0, 1].
    """
    if image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(f"image must be of shape (3, H, W); got {tuple(image.shape)}")
    if not image.is_floating_point():
        raise ValueError(f"image must be floating point colours in [0, 1]; got {image.dtype}: divide by 255")
    image = image.detach().cpu().float()
    low, high = image.min().item(), image.max().item()
    if not -1e-3 <= low <= high <= 1 + 1e-3:
        raise ValueError(f"image must be colours in [0, 1]; got {low:.3g} to {high:.3g}: undo its normalisation")
    if grey:
        image = (image * _GREY).sum(0, keepdim=True).expand(3, -1, -1)
    factor = max(_SIDE // max(image.shape[1:]), 1)
    enlarged = image.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
    return _to_bytes(enlarged.permute(1, 2, 0).numpy())


def draw_outline(pixels: Pixels, mask: Tensor) -> Pixels:
    """Outline a mask (H, W) on a picture (H', W', 3), with a white line around it and a dark one around that.

    The mask is enlarged to the picture. An empty mask draws nothing.
    """
    size = pixels.shape[:2]
    inside = F.interpolate(mask.detach().cpu().float()[None, None], (size[0], size[1]), mode="nearest") > 0.5
    grown = [inside]
    for _ in range(3):
        grown.append(F.max_pool2d(grown[-1].float(), 3, stride=1, padding=1) > 0)
    drawn = pixels.copy()
    drawn[(grown[3] & ~grown[2])[0, 0].numpy()] = 0
    drawn[(grown[2] & ~grown[0])[0, 0].numpy()] = 255
    return drawn


def common_scale(panels: Iterable[Panel]) -> tuple[float, bool]:
    """Return (peak, signed) for panels to be compared: their largest magnitude, and True if any has a negative.

    The peak is 0 if no panel has anything to draw.
    """
    maps = [panel.attention.detach() for panel in panels if panel.attention is not None and not panel.remark]
    peak = max((m.abs().max().item() for m in maps), default=0.0)
    return peak, any(bool((m < 0).any()) for m in maps)


def draw_panel(image: Tensor, panel: Panel, peak: float, signed: bool) -> Pixels:
    """Draw the panel's overlay at a common scale; the image in grey where there is nothing to colour."""
    if panel.attention is None or panel.remark:
        return picture(image, grey=True)
    return overlay(image, panel.attention, peak, signed=signed)


def scale_colors(signed: bool, steps: int = 256) -> _Floats:
    """Return the scale from weakest to strongest (or most against to most for) over mid grey: (steps, 3) in [0, 1]."""
    strength = np.linspace(-1 if signed else 0, 1, steps, dtype=np.float32)
    return _blend(np.full((steps, 3), 0.5, np.float32), strength, signed)


def _blend(under: _Floats, strength: _Floats, signed: bool) -> _Floats:
    """Return colours (..., 3) under attention (...) in [0, 1], or in [-1, 1] if signed."""
    over, opacity = _colours(strength, signed)
    return (under + opacity * (over - under)).astype(np.float32)


def _colours(strength: _Floats, signed: bool) -> tuple[_Floats, _Floats]:
    """Return colours (..., 3) of attention (...) in [0, 1], or in [-1, 1] if signed, and their opacity (..., 1)."""
    import matplotlib

    if signed:
        over = matplotlib.colormaps["coolwarm"](0.5 + strength / 2)[..., :3]
    else:
        # Without its darkest part, which reads as shade, and its palest, which reads as light.
        over = matplotlib.colormaps["inferno"](0.25 + 0.67 * strength)[..., :3]
    return over, (_OPACITY * np.abs(strength)[..., None]).astype(np.float32)


def _to_bytes(colours: _Floats) -> Pixels:
    return (colours.clip(0, 1) * 255).round().astype(np.uint8)
