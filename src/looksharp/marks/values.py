"""Values from files of any origin: each is of the kind asked for, or None."""

from __future__ import annotations

from typing import Any

from looksharp.marks.polygons import Point

__all__ = ["Entry", "listed", "mapping", "numbers", "points", "text", "whole_numbers"]

Entry = dict[str, Any]
"""A mapping from a JSON file; its values may be anything."""


def mapping(value: object) -> Entry:
    """Return a mapping; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def listed(value: object) -> list[Any] | None:
    """Return a list."""
    return value if isinstance(value, list) else None


def text(value: object) -> str | None:
    """Return text."""
    return value if isinstance(value, str) else None


def numbers(value: object, as_text: bool = False) -> list[float] | None:
    """Return a list of numbers, which may be NaN or endless; numbers written as text count if `as_text`."""
    kinds = (int, float, str) if as_text else (int, float)
    try:
        found = listed(value)
        return None if found is None else [float(each) if type(each) in kinds else float("none") for each in found]
    except (ValueError, OverflowError):
        return None


def whole_numbers(value: object) -> list[int] | None:
    """Return a list of whole numbers, none below 0."""
    found = listed(value)
    return None if found is None or not all(type(each) is int and each >= 0 for each in found) else found


def points(value: object) -> list[Point] | None:
    """Return a list of points [x, y]."""
    found = [numbers(each) for each in listed(value) or [None]]
    kept = [point for point in found if point is not None and len(point) == 2]
    return None if len(kept) < len(found) else list(kept)
