"""Look at some images of a data set, to report what would otherwise go wrong silently."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from looksharp.data.split import Data, Split
from looksharp.images.look import Look
from looksharp.images.opening import one_line

__all__ = ["surveyed"]

_LOOKED_AT = 256  # images of a split, at most
_LEAST = 16  # and at least, where they are large
_PIXELS = 300_000_000  # that are looked at in a split
_FEW_BITS = 14  # 16-bit images that use no more are likely to be of fewer bits


def surveyed(data: Data) -> Data:
    """Note images of one colour, and files of several pictures, in the data set.

    Up to 256 images of each split are looked at, spread evenly; files that cannot be read are left to their reader.

    Raises:
        ValueError: if images of 16 bits a channel use so few of them that they would come out nearly black, and
            `value_range` is not given.
    """
    notes: dict[str, int] = {}
    seen: list[Split] = []
    for name, split in data.splits.items():
        if any(split is other for other in seen):
            continue
        seen.append(split)
        looks = _looks(split)
        if data.pixels.value_range is None:
            _check_depth({split.name(place): look for place, look in looks.items()})
        among = "" if len(looks) == len(split) else f"among {len(looks):,} looked at "
        for words, chosen in (
            ("pictures of one colour", [place for place, look in looks.items() if look.constant]),
            ("animations or files of several pictures, of which the first is read", _several(looks)),
        ):
            if chosen:
                notes[f"{words} {among}in {name}, such as {one_line(split.name(chosen[0]))}"] = len(chosen)
    return replace(data, notes=data.notes | notes) if notes else data


def _several(looks: Mapping[int, Look]) -> list[int]:
    return [place for place, look in looks.items() if look.several]


def _looks(split: Split) -> dict[int, Look]:
    """Look at images spread evenly over a split, at fewer where they are large."""
    places = torch.linspace(0, len(split) - 1, min(_LOOKED_AT, len(split))).long()
    order = torch.randperm(len(places), generator=torch.Generator().manual_seed(0))
    looks: dict[int, Look] = {}
    pixels = 0
    for place in places[order].tolist():
        try:
            look = split.look(place)
        except ValueError:  # whoever reads the image says so
            continue
        if look is None or (pixels > _PIXELS and len(looks) >= _LEAST):
            break
        looks[place], pixels = look, pixels + look.pixels
    return dict(sorted(looks.items()))


def _check_depth(looks: Mapping[str, Look]) -> None:
    deep = {name: look.highest for name, look in looks.items() if look.highest is not None}
    highest = max(deep.values(), default=0)
    if deep and highest < 1 << _FEW_BITS and highest > 0:
        full = max((1 << highest.bit_length()) - 1, 255)
        raise ValueError(
            f"images of 16 bits a channel, such as {one_line(next(iter(deep)))}, use no value above {highest:,} and "
            f"would come out nearly black; give --range 0,{full}, or --range 0,65535 to read them like that"
        )
