"""Find the class of a model that a data set's class means, by its name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from looksharp.data.class_map import same_name

__all__ = ["match_classes"]

_SYNSET = re.compile(r"(n\d{8})(?:[ _-].*)?")
_IMAGENET = 1000
_LEAST = 0.95
"""Share of the names of 1000 classes that must be ImageNet's, each in its place, for the others to be too."""


def match_classes(names: Sequence[str], classes: Sequence[str], data: str = "") -> list[str]:
    """Return, for each class of the data, the model's class that it means.

    Names match without regard to case, spaces and punctuation. ImageNet's synsets, such as n01440764 or
    n01440764-tench, match their names in torchvision's and timm's tables, and each of several names that stand
    separated by commas matches. A name that is equal comes before a synonym.

    Args:
        names: the data's classes.
        classes: the model's classes.
        data: name of the data, for messages.

    Raises:
        ValueError: in one line that names the class and the flag, if a class has no partner or several, or two have
            the same.

    Example:
        >>> match_classes(["n01440764", "Great White Shark"], ["great_white_shark", "tench, Tinca tinca"])
        ['tench, Tinca tinca', 'great_white_shark']

    """
    if tuple(names) == tuple(classes):
        return list(classes)
    synsets = list(_labels()) if _is_imagenet(classes) else [None] * len(classes)
    of_model = [_called(name, synset) for name, synset in zip(classes, synsets, strict=True)]
    found = [_candidates(name, classes, of_model) for name in names]
    of = f" of data {data}" if data else ""
    if not any(found):
        raise ValueError(
            f"data {data} has other classes than the run: {len(names)}, first {names[0]!r}, "
            f"and not {len(classes)}, first {classes[0]!r}; map them by --class_map FILE"
        )
    takers: dict[str, str] = {}
    for name, partners in zip(names, found, strict=True):
        if not partners:
            raise ValueError(
                f"class {name!r}{of} is none of the run's {len(classes)}{_close(name, classes)}; {_mend(name)}"
            )
        if len(partners) > 1:
            raise ValueError(f"class {name!r}{of} may be {_or(partners)} of the run; {_mend(name)}")
        if partners[0] in takers:
            raise ValueError(
                f"classes {takers[partners[0]]!r} and {name!r}{of} may both be {partners[0]!r} of the run; state both "
                f"by --class_map FILE"
            )
        takers[partners[0]] = name
    return [partners[0] for partners in found]


@dataclass(frozen=True)
class _Called:
    """Names of a class: its own, as `same_name` writes it, and its synonyms likewise."""

    exact: frozenset[str]
    precise: frozenset[str]
    loose: frozenset[str]


def _candidates(name: str, classes: Sequence[str], of_model: Sequence[_Called]) -> list[str]:
    """Return the model's classes that a name fits best."""
    own = _called(name, None)
    for fits in (
        lambda model: own.exact & model.exact,
        lambda model: own.precise & model.precise,
        lambda model: own.loose & model.precise or own.precise & model.loose,
        lambda model: own.loose & model.loose,
    ):
        fitting = [each for each, called in zip(classes, of_model, strict=True) if fits(called)]
        if fitting:
            return [name] if name in fitting else fitting
    return []


def _called(name: str, synset: str | None) -> _Called:
    """Return what a class is called, by its synset too, which is stated or in its name."""
    stated = _SYNSET.fullmatch(name)
    synset = stated[1] if stated else synset
    exact, loose = {name}, set(_parts(name))
    if synset is not None:
        exact |= {synset, *([_labels()[synset]] if synset in _labels() else [])}
        loose |= set(_parts(_lemmas().get(synset, "")))
    return _Called(frozenset(exact), frozenset(map(same_name, exact)), frozenset(loose))


def _parts(name: str) -> Iterable[str]:
    return (same_name(part) for part in name.split(",") if part.strip())


def _is_imagenet(classes: Sequence[str]) -> bool:
    """Return whether classes are ImageNet's thousand, in the order of published weights."""
    if len(classes) != _IMAGENET:
        return False
    known = (_called(synset, None) for synset in _labels())
    fits = [(k.precise | k.loose) & {same_name(c), *_parts(c)} for k, c in zip(known, classes, strict=True)]
    return sum(map(bool, fits)) >= _LEAST * _IMAGENET


@lru_cache(maxsize=1)
def _labels() -> dict[str, str]:
    """Return torchvision's names of ImageNet's thousand synsets, in the order of published weights."""
    from timm.data.imagenet_info import ImageNetInfo
    from torchvision.models import ResNet18_Weights

    return dict(
        zip(ImageNetInfo("imagenet-1k").label_names(), ResNet18_Weights.DEFAULT.meta["categories"], strict=True)
    )


@lru_cache(maxsize=1)
def _lemmas() -> dict[str, str]:
    """Return WordNet's words for each synset of ImageNet's 22 thousand, separated by commas."""
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo("imagenet-22k")
    return dict(zip(info.label_names(), info.label_descriptions(), strict=True))


def _close(name: str, classes: Sequence[str]) -> str:
    """Return a hint at the model's class whose name is most like this one."""
    alike = {same_name(part): each for each in classes for part in each.split(",")}
    close = difflib.get_close_matches(same_name(name), alike, n=1)
    return f", such as {classes[0]!r}" if not close else f"; did you mean {alike[close[0]]!r}?"


def _mend(name: str) -> str:
    return f"state it by --class_map FILE, in which `{name}: CLASS` maps it and `{name}: -` leaves its images out"


def _or(names: Sequence[str]) -> str:
    return f"{', '.join(map(repr, names[:-1]))} or {names[-1]!r}"
