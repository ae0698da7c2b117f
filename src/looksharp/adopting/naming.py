"""Names of a model's classes, in the order of its logits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from looksharp.files import read_text
from looksharp.networks.backbones.source import Stated

__all__ = ["Named", "imagenet_classes", "name_classes", "read_names"]

_IMAGENET = 1000


@dataclass(frozen=True)
class Named:
    """Names of classes.

    Attributes:
        names: in the order of the logits.
        origin: where they are from, for messages.
    """

    names: tuple[str, ...]
    origin: str


def read_names(text: str | Sequence[str]) -> Named:
    """Read names of classes from a file with one a line, or separated by commas.

    Raises:
        ValueError: if a name is empty or comes twice.
    """
    if isinstance(text, str) and Path(text).is_file():
        lines = read_text(Path(text)).splitlines()
        while lines and not lines[-1].strip():
            lines.pop()
        names, origin = tuple(line.strip() for line in lines), text
    else:
        parts = text.split(",") if isinstance(text, str) else text
        names, origin = tuple(part.strip() for part in parts), "as given"
    if isinstance(text, str) and len(names) < 2:
        raise ValueError(f"classes must be a file with one name a line, or names separated by commas; got {text!r}")
    empty = next((place for place, name in enumerate(names, 1) if not name), None)
    if empty is not None:
        raise ValueError(f"classes ({origin}) has no name in place {empty}")
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise ValueError(f"classes ({origin}) names {twice!r} twice; give each class a name of its own")
    return Named(names, origin)


def name_classes(count: int, given: Named | None, stated: Stated, data: Sequence[str] | None, what: str) -> Named:
    """Choose the names of a model's classes: those given, its configuration's, ImageNet's, or the data's by order.

    Args:
        count: number of logits.
        given: names that the user gave.
        stated: the model's configuration.
        data: the classes of the data, if there are any.
        what: the model's name, for messages.

    Raises:
        ValueError: if their number differs, or none are known.
    """
    if given is not None:
        if len(given.names) != count:
            raise ValueError(
                f"classes ({given.origin}) are {len(given.names)}, but model {what} answers with {count}; name each of "
                f"them in the order of its outputs"
            )
        return given
    if len(stated.classes) == count:
        return Named(stated.classes, f"by {stated.origin}")
    if data is not None and len(data) == count:
        return Named(tuple(data), "the data's, by order")
    if count == _IMAGENET:
        return Named(imagenet_classes(), "ImageNet's, by order")
    here = "" if data is None else f" (the data have {len(data)})"
    raise ValueError(
        f"classes of model {what} are not known: it answers with {count}{here}; name them by --classes FILE or A,B,.. "
        f"in the order of its outputs"
    )


def imagenet_classes() -> tuple[str, ...]:
    """Return the names of ImageNet's 1000 classes as torchvision writes them, in the order of published weights."""
    from torchvision.models import ResNet18_Weights

    return tuple(ResNet18_Weights.DEFAULT.meta["categories"])
