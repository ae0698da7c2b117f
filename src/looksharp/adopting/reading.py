"""The way from images to an adopted model's input: its own configuration's, as far as no flag says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from looksharp.attention.layout import pair
from looksharp.data.pixels import Pixels
from looksharp.networks.backbones.source import Stated

__all__ = ["PIXEL_SETTINGS", "choose_pixels", "said_pixels"]

_OTHERWISE = {"size": "image_size", "value_range": "range"}
PIXEL_SETTINGS = {each.name: _OTHERWISE.get(each.name, each.name) for each in fields(Pixels)}
"""Field of `Pixels` -> the setting that states it."""

_NEEDED = ("size", "mean", "std")
_RESIZING = {"fit", "crop_share", "resize_size", "interpolation", "resizer"}
_OWN_RULE = (
    "files are resized as looksharp does, to cover that size and be cut (--fit, --resize_size, --interpolation and "
    "--resizer state another rule)"
)


def choose_pixels(
    stated: Stated, given: Mapping[str, Any], in_memory: tuple[int, int] | None, what: str
) -> tuple[Pixels, str]:
    """Return how images become the model's input, and in words where that is from.

    Args:
        stated: the model's configuration.
        given: settings that the user gave, by the names in `PIXEL_SETTINGS`.
        in_memory: size of the data's images, if they are held in memory and cannot be resized.
        what: the model's name, for messages.

    Raises:
        ValueError: if the size, mean or standard deviation is not known; the flag is named.
    """
    chosen = {name: given[setting] for name, setting in PIXEL_SETTINGS.items() if given.get(setting) is not None}
    if "size" not in chosen and in_memory is not None:
        chosen["size"] = in_memory
    chosen |= {name: pair(chosen[name]) for name in ("size", "resize_size") if name in chosen}
    lacking = [name for name in _NEEDED if name not in chosen]
    if stated.pixels is None and lacking:
        flags = ", ".join(f"--{PIXEL_SETTINGS[name]}" for name in lacking)
        why = stated.lost or f"how images become the input of model {what} is not known; state it by {flags}"
        raise ValueError(f"{why} (--mean 0 --std 1 if the model normalises its input itself)")
    if stated.pixels is None:
        return Pixels(**chosen), "as given" if in_memory or _RESIZING & chosen.keys() else f"as given; {_OWN_RULE}"
    flags = ", ".join(f"--{PIXEL_SETTINGS[name]}" for name in chosen if PIXEL_SETTINGS[name] in given)
    origin = f"by {stated.origin}" + (f"; {flags} as given" if flags else "")
    return replace(stated.pixels, **_scaled(stated.pixels, chosen)), origin


def _scaled(pixels: Pixels, chosen: dict[str, Any]) -> dict[str, Any]:
    """Return what replaces a configuration, so that another size is cut from images as much larger as before."""
    if "crop_share" in chosen:
        return {"resize_size": None} | chosen
    if "resize_size" in chosen:
        return {"crop_share": 1.0} | chosen
    if "size" not in chosen or pixels.resize_size is None:
        return chosen
    sides = zip(chosen["size"], pixels.resize_size, pixels.size, strict=True)
    return chosen | {"resize_size": tuple(int(side * larger / own) for side, larger, own in sides)}


def said_pixels(pixels: Pixels) -> str:
    """Return the pixels in words."""
    height, width = pixels.size
    values = ("mean " + " ".join(f"{v:g}" for v in pixels.mean), "std " + " ".join(f"{v:g}" for v in pixels.std))
    defaults = Pixels(pixels.size)
    others = [
        f"{setting} {_shown(getattr(pixels, name))}"
        for name, setting in PIXEL_SETTINGS.items()
        if name not in _NEEDED and getattr(pixels, name) != getattr(defaults, name)
    ]
    return ", ".join([f"{height} x {width} px", *values, *others])


def _shown(value: object) -> str:
    return " x ".join(map(str, value)) if isinstance(value, tuple) else str(value)
