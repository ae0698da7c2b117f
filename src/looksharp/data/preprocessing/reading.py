"""Pixels of a transform of any known source."""

from __future__ import annotations

from collections.abc import Mapping

from looksharp.data.pixels import Pixels
from looksharp.data.preprocessing.image_processor import Processor, processor_pixels
from looksharp.data.preprocessing.timm_config import timm_pixels
from looksharp.data.preprocessing.torchvision_transform import transform_pixels

__all__ = ["read_pixels"]


def read_pixels(transform: object) -> Pixels:
    """Return the pixels of an evaluation transform.

    Args:
        transform: `Pixels` themselves; timm's data configuration; a torchvision transform; or a transformers image
            processor or its configuration.

    Raises:
        Irreproducible: if it is none of them, or `Pixels` cannot express it.
    """
    if isinstance(transform, Pixels):
        return transform
    if isinstance(transform, Mapping) and "input_size" in transform:
        return timm_pixels(transform)
    if isinstance(transform, Mapping | Processor):
        return processor_pixels(transform)
    return transform_pixels(transform)
