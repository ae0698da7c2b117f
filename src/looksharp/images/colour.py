"""Pictures of any colour mode as sRGB."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO

from PIL import Image, ImageChops, ImageCms

__all__ = ["to_srgb"]

_SPACES = {"RGB": "RGB ", "CMYK": "CMYK", "L": "GRAY"}  # a mode's colour space, as profiles write it


def to_srgb(image: Image.Image) -> Image.Image:
    """Return a picture of 8 bits a channel as sRGB, by its colour profile where it has one.

    Transparency is left out: the colours below it show.

    Args:
        image: as its file was opened and decoded.
    """
    profile, format, info = image.info.get("icc_profile"), image.format, image.info
    if image.mode == "LAB":
        return _converted(image, ImageCms.buildTransform(ImageCms.createProfile("LAB"), _SRGB, "LAB", "RGB"))
    if image.mode == "CMYK" and format == "JPEG" and "adobe" not in info:
        image = ImageChops.invert(image)  # PIL takes all CMYK in JPEG for inverted, which is Adobe's way alone
    if image.mode == "P":  # PIL warns of the direct way where colours are transparent
        image = image.convert("RGBA" if "transparency" in info else "RGB")
    if image.mode in ("1", "LA", "La"):
        image = image.convert("L")
    if image.mode not in _SPACES:
        image = image.convert("RGB")
    conversion = _conversion(profile, image.mode) if isinstance(profile, bytes) and profile else None
    return image.convert("RGB") if conversion is None else _converted(image, conversion)


def _converted(image: Image.Image, conversion: ImageCms.ImageCmsTransform) -> Image.Image:
    converted = ImageCms.applyTransform(image, conversion)
    assert converted is not None  # as it is where conversion is in place
    return converted


@lru_cache(maxsize=32)
def _conversion(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return what brings pixels of a profile to sRGB; None where they are, or the profile is damaged or of others."""
    try:
        found = ImageCms.ImageCmsProfile(BytesIO(profile))
        described = found.profile.profile_description or ""
        if "srgb" in described.lower() or found.profile.xcolor_space != _SPACES[mode]:
            return None
        return ImageCms.buildTransform(found, _SRGB, mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


_SRGB = ImageCms.createProfile("sRGB")
