"""Pixels of a timm model, from its resolved data configuration."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from looksharp.data.pixels import Pixels
from looksharp.data.preprocessing.refusal import Irreproducible, channels, made

__all__ = ["timm_pixels"]

_FITS = {"center": "shorter", "squash": "resize"}


def timm_pixels(config: Mapping[str, Any]) -> Pixels:
    """Return the pixels of `timm.data.create_transform(**config)` for evaluation.

    Args:
        config: what `timm.data.resolve_model_data_config` returns: input_size, interpolation, mean, std, crop_pct and
            crop_mode.

    Raises:
        Irreproducible: if the model does not read three channels, or images get borders.

    Example:
        >>> from timm.data import resolve_data_config
        >>> timm_pixels(resolve_data_config(pretrained_cfg={"crop_pct": 0.9})).resized
        (248, 248)

    """
    count, height, width = config["input_size"]
    if count != 3:
        raise Irreproducible(f"the model reads {count} channels and not 3")
    mode, share = config.get("crop_mode") or "center", config.get("crop_pct") or 0.875
    if mode not in _FITS:
        raise Irreproducible(f"the transform's crop_mode is {mode!r}")
    return made(
        size=(height, width),
        mean=channels(config["mean"], "mean"),
        std=channels(config["std"], "std"),
        fit=_FITS[mode],
        resize_size=(math.floor(height / share), math.floor(width / share)),
        interpolation=config.get("interpolation", "bilinear"),
        resizer="pil",
    )
