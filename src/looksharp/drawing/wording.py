"""Numbers as pages and tables show them, and topics as a terminal does."""

from __future__ import annotations

import math
from collections.abc import Mapping

__all__ = ["aligned", "duration", "in_change", "in_digits", "in_points", "in_words"]


def in_words(value: float | None, percent: bool) -> str:
    """Return a value as it is shown; a dash where there is none.

    Example:
        >>> in_words(0.9731, True), in_words(0.12345, False), in_words(float("nan"), True)
        ('97.3%', '0.123', '–')

    """
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.1%}" if percent else f"{value:.3f}"


def in_points(difference: float) -> str:
    """Return a difference of two shares in points, with its sign.

    Example:
        >>> in_points(0.251), in_points(-0.03), in_points(0.0)
        ('+25.1', '−3.0', '±0.0')

    """
    text = f"{abs(difference) * 100:.1f}"
    sign = "±" if text == "0.0" else "+" if difference > 0 else "−"
    return sign + text


def in_change(difference: float, percent: bool) -> str:
    """Return a difference as it is shown: of shares in points, of others in their own unit.

    Example:
        >>> in_change(0.251, True), in_change(-0.0304, False), in_change(float("nan"), True)
        ('+25.1', '−0.030', '–')

    """
    if not math.isfinite(difference):
        return "–"
    if percent:
        return in_points(difference)
    text = f"{abs(difference):.3f}"
    return ("±" if float(text) == 0 else "+" if difference > 0 else "−") + text


def in_digits(count: float) -> str:
    """Return a large count in three digits.

    Example:
        >>> in_digits(1234567), in_digits(41_000_000_000), in_digits(512)
        ('1.23 M', '41 G', '512')

    """
    if not math.isfinite(count):
        return "–"
    for unit, size in {"T": 1e12, "G": 1e9, "M": 1e6, "k": 1e3}.items():
        if abs(count) >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.3g}"


def duration(seconds: float) -> str:
    """Return a time in the two largest units that matter.

    Example:
        >>> duration(3.21), duration(75), duration(3720)
        ('3.2 s', '1 min 15 s', '1 h 2 min')

    """
    if not math.isfinite(seconds):
        return "–"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def aligned(topics: Mapping[str, str]) -> list[str]:
    """Return a line for each topic, with what is said of them in one column.

    Example:
        >>> aligned({"model": "resnet18", "head": "linear"})
        ['model  resnet18', 'head   linear']

    """
    width = max(map(len, topics), default=0)
    return [f"{topic.ljust(width)}  {text}" for topic, text in topics.items()]
