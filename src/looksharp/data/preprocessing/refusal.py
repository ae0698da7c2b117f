"""Make `Pixels` of what a transform says, or say in one line that it cannot be reproduced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from looksharp.data.pixels import Pixels

__all__ = ["Irreproducible", "channels", "made"]

_MEND = "state the pixels by --image_size, --resize_size, --fit, --interpolation, --mean and --std"


class Irreproducible(ValueError):
    """A transform that `Pixels` cannot express; its text is one line that names the flags which state the pixels."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}, which cannot be reproduced; {_MEND}")


def made(**settings: Any) -> Pixels:
    """Return the pixels of these settings; see `Pixels`.

    Raises:
        Irreproducible: if `Pixels` refuses them.
    """
    try:
        return Pixels(**settings)
    except ValueError as error:
        raise Irreproducible(f"the transform's {error}") from None


def channels(values: object, name: str) -> tuple[float, float, float]:
    """Return a value for each of three channels; one value stands for all.

    Raises:
        Irreproducible: if there are not one or three.
    """
    if isinstance(values, int | float):
        values = [values]
    found = [float(value) for value in values] if isinstance(values, Sequence) else []
    if len(found) not in (1, 3):
        raise Irreproducible(f"the transform's {name} has {len(found)} channels and not 3")
    first, second, third = found * (3 // len(found))
    return first, second, third
