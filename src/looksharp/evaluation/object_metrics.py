"""Measurements of objects whose masks are known: over all of them, by class and by size."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from looksharp.evaluation.result import Evaluation
from looksharp.evaluation.subject import Objects, listed
from looksharp.evaluation.tables import ByColumn
from looksharp.metrics.grouped import Grouped
from looksharp.metrics.localisation import size_groups
from looksharp.processes.gathering import summed, without_shares

__all__ = ["ObjectMetrics"]

_EDGES = (0.1, 0.25)  # shares of the image that part small from medium and medium from large


class ObjectMetrics:
    """Metrics of objects, over all of them and over the groups of one class and of one size.

    Args:
        count: number of classes.
        metrics: name -> the metric's class.
        device: device of the maps.
    """

    def __init__(self, count: int, metrics: Mapping[str, Callable[..., Grouped]], device: torch.device) -> None:
        groups = {"label": max(count, 2), "size": len(_EDGES) + 1}  # a grouping has two groups at least
        self.count, self.metrics = count, {n: metric(groups=groups).to(device) for n, metric in metrics.items()}
        self.labels, self.sizes = (torch.zeros(number, dtype=torch.int64) for number in groups.values())

    def update(self, objects: Objects, inputs: Mapping[str, tuple[Tensor, ...]]) -> None:
        """Return a batch's objects with the values that each metric is updated with."""
        size = size_groups(objects.masks, _EDGES)
        self.labels += objects.label.cpu().bincount(minlength=len(self.labels))
        self.sizes += size.cpu().bincount(minlength=len(self.sizes))
        for name, given in inputs.items():
            self.metrics[name].update(*given, label=objects.label, size=size)

    def compute(self) -> Evaluation:
        """Return values over all objects; tables "per_class" and "by_size" hold one entry a class or size.

        In both, "objects" is their number; "by_size" also has the "edges" between the sizes, as shares of the
        image. Nothing if there is no object.
        """
        labels, sizes = summed(self.labels), summed(self.sizes)
        if not labels.any():
            return Evaluation()
        with without_shares():
            found = {name: metric.compute() for name, metric in self.metrics.items()}
        values = {name: float(result.overall) for name, result in found.items()}
        per_class: ByColumn = {"objects": labels[: self.count].tolist()}
        by_size: ByColumn = {"edges": list(_EDGES), "objects": sizes.tolist()}
        for name, result in found.items():
            per_class[name] = listed(result.groups["label"][: self.count])
            by_size[name] = listed(result.groups["size"])
        values = {name: value for name, value in values.items() if value == value}
        return Evaluation(values, tables={"per_class": per_class, "by_size": by_size})
