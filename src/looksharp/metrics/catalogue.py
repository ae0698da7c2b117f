"""A catalogue of metrics: each is registered where it is computed, with its label, direction and order."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from looksharp.registry import Registry

__all__ = ["METRICS", "Metric", "curve_title", "find_metric", "in_order", "on_topic"]

Better = Literal["higher", "lower", ""]


@dataclass(frozen=True)
class Metric:
    """A metric's name, direction and unit, for tables and pages.

    Attributes:
        label: its name in plain words.
        better: the direction that is better; "" if neither is.
        explanation: one short sentence.
        percent: True for a share, shown in per cent; False for a plain number.
        place: order among the metrics of a table; metrics without a place come last, in the order of measuring.
        topic: "main" if it may head a page, "attention" if it measures where a network looks.
    """

    label: str
    better: Better = ""
    explanation: str = ""
    percent: bool = False
    place: float = math.inf
    topic: Literal["main", "attention", ""] = ""


METRICS: Registry[Metric] = Registry("metric", "looksharp.metrics", "looksharp.evaluation.suites")
"""Every metric by its name in an evaluation; a page shows any other under its own name.

A term of a loss has "train_" before its name."""


def find_metric(name: str) -> Metric:
    """Return the metric of that name, or one that shows the name itself."""
    words = name.replace("_", " ").strip()
    return METRICS.get(name) or Metric(words[:1].upper() + words[1:])


def in_order(names: Iterable[str]) -> list[str]:
    """Sort metrics by their places; those without one stay as they are, at the end."""
    return sorted(names, key=lambda name: find_metric(name).place)


def on_topic(topic: Literal["main", "attention"]) -> tuple[str, ...]:
    """Return the names of a topic's metrics, in order."""
    return tuple(in_order(name for name, metric in METRICS.items() if metric.topic == topic))


def curve_title(name: str) -> tuple[str, Metric]:
    """Return a curve's title and metric, from a name such as "val_top1".

    Example:
        >>> curve_title("val_top1")[0]
        'Accuracy, validation'

    """
    for prefix, where in {"train_": "training", "val_": "validation"}.items():
        if name.startswith(prefix):
            metric = METRICS.get(name) or find_metric(name.removeprefix(prefix))
            return f"{metric.label}, {where}", metric
    metric = find_metric(name)
    return metric.label, metric
