"""Pixels of a transformers image processor."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from PIL import Image

from looksharp.data.pixels import Pixels
from looksharp.data.preprocessing.refusal import Irreproducible, channels, made
from looksharp.data.preprocessing.timm_config import timm_pixels

__all__ = ["Processor", "processor_pixels"]

_PLAIN = ("ViT", "DeiT", "CLIP", "Bit", "Beit", "MobileNetV1", "MobileNetV2", "Pvt", "Segformer", "Siglip")
"""Processors that resize, crop, rescale and normalise, as their configuration says."""

_SHARES = {"ConvNext": 224 / 256, "PoolFormer": 0.9, "Levit": None}
"""Processors that enlarge the size before they crop -> the share of it that is cut, unless crop_pct says otherwise."""

_WARPED = 384
"""Size from which ConvNext's processor resizes both sides and cuts nothing off."""


@runtime_checkable
class Processor(Protocol):
    """An image processor, as far as it is read."""

    def to_dict(self) -> dict[str, Any]:
        """Return its configuration."""
        ...


def processor_pixels(processor: object) -> Pixels:
    """Return the pixels of an image processor.

    Args:
        processor: an image processor, or its configuration: what `processor.to_dict()` returns and
            preprocessor_config.json holds. A configuration does not say which of the two libraries resizes; PIL does,
            unless the name of its class ends in "Fast".

    Raises:
        Irreproducible: if the processor does more than resize, cut, rescale and normalise.

    Example:
        >>> size = {"height": 224, "width": 224}
        >>> half = [0.5, 0.5, 0.5]
        >>> config = {"image_processor_type": "ViTImageProcessor", "size": size, "image_mean": half, "image_std": half}
        >>> processor_pixels(config).fit
        'resize'

    """
    if not isinstance(processor, Mapping | Processor):
        raise Irreproducible(f"{type(processor).__name__} is no image processor")
    config = processor if isinstance(processor, Mapping) else processor.to_dict()
    if "data_config" in config:  # of transformers' wrapper of timm's models
        return timm_pixels(config["data_config"])
    name = str(config.get("image_processor_type") or config.get("feature_extractor_type"))
    family = re.sub(r"(ImageProcessor|FeatureExtractor)(Fast|Pil)?$", "", name)
    if family not in (*_PLAIN, *_SHARES):
        raise Irreproducible(f"image processor {name} is not known")
    if not config.get("do_resize", True):
        raise Irreproducible(f"image processor {name} resizes nothing")
    torch_resizes = getattr(processor, "backend", "torchvision" if name.endswith("Fast") else "pil") == "torchvision"
    resizer = "torch" if torch_resizes else "pil"
    found = _resizing(config, family) | _normalising(config)
    return made(**found, interpolation=_filter(config, resizer), resizer=resizer, middle="floor")


def _resizing(config: Mapping[str, Any], family: str) -> dict[str, Any]:
    """Return the size of the input, and the rule and size of the resizing."""
    size = _sides(config, "size")
    cut = _sides(config, "crop_size") if config.get("do_center_crop") else None
    share = config.get("crop_pct", _SHARES.get(family))
    if family == "ConvNext":
        if cut is not None or len(size) != 1:
            raise Irreproducible("the ConvNext image processor has another size than one shorter side")
        size, cut = (size * 2, None) if size[0] >= _WARPED else ([int(size[0] / share)], size * 2)
    elif family == "Levit" and len(size) == 1:
        size = [int(256 / 224 * size[0])]
    elif family == "PoolFormer" and share is not None:
        size = [int(size[0] / share)] if len(set(size)) == 1 else [int(side / share) for side in size]
    if cut is None and len(size) == 1:
        raise Irreproducible("the image processor brings images to no one size")
    height, width = cut or size
    return {
        "size": (height, width),
        "fit": "shorter" if len(size) == 1 else "resize",
        "resize_size": (size[0], size[-1]),
    }


def _sides(config: Mapping[str, Any], name: str) -> list[int]:
    """Return the length of the shorter side, or of both sides.

    Raises:
        Irreproducible: if a size is stated otherwise.
    """
    size = config.get(name)
    if isinstance(size, int):
        return [size, size]
    found = {key: value for key, value in (size or {}).items() if value is not None}
    match found:
        case {"height": height, "width": width, **rest} if not rest:
            return [int(height), int(width)]
        case {"shortest_edge": side, **rest} if not rest:
            return [int(side)]
    raise Irreproducible(f"the image processor's {name} is {found or 'not stated'}")


def _normalising(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return mean and standard deviation of colours from 0 to 1, with the factor of the rescaling in them."""
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if config.get("do_normalize", True):
        mean, std = channels(config["image_mean"], "mean"), channels(config["image_std"], "std")
    factor = float(config.get("rescale_factor") or 1 / 255) if config.get("do_rescale", True) else 1.0
    if factor == 1 / 255:
        return {"mean": mean, "std": std}
    times = 255 * factor
    return {name: tuple(value / times for value in values) for name, values in (("mean", mean), ("std", std))}


def _filter(config: Mapping[str, Any], resizer: str) -> str:
    """Return the name of the filter."""
    resample = config.get("resample")
    name = Image.Resampling(Image.Resampling.BILINEAR if resample is None else int(resample)).name.lower()
    return "nearest-exact" if resizer == "torch" and name == "nearest" else name
