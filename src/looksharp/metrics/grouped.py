"""Means over a data set and over its groups, of anything that is measured per sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypedDict, Unpack

import torch
from torch import Tensor
from torchmetrics import Metric

__all__ = ["Grouped", "GroupedMean", "GroupedResult"]


class GroupedResult(NamedTuple):
    """Means that a `Grouped` metric found.

    Attributes:
        overall: () mean over all samples; NaN if there are none.
        groups: grouping -> (K,) mean of each group; NaN for a group without samples.
        undefined: () number of samples that are NaN and left out.
    """

    overall: Tensor
    groups: dict[str, Tensor]
    undefined: Tensor


class MetricOptions(TypedDict, total=False):
    """torchmetrics' own options of a metric; see `torchmetrics.Metric`."""

    compute_on_cpu: bool
    dist_sync_on_step: bool
    process_group: object
    dist_sync_fn: Callable[..., object] | None
    distributed_available_fn: Callable[[], bool]
    sync_on_compute: bool
    compute_with_cache: bool


class Grouped(Metric):
    """Means of per-sample measurements: over all samples, and over the groups of one or several groupings.

    A group is anything with a number, such as a class, a size of object or a background. Only sums and counts are kept,
    so memory is bounded, and batches, their order and the number of processes change nothing but rounding in float64.

    Args:
        measure: function from the inputs of `update` to values (N, *shape), one per sample; a sample with a NaN is
            undefined.
        groups: grouping -> number of its groups, at least 2.
        shape: shape of one sample's values.
        summary: function from means (..., *shape) to results (...); the means themselves if not given.
        options: torchmetrics' own.

    Raises:
        ValueError: if a grouping has fewer than two groups; by `update`, if groupings are missing or unknown, or
            group numbers are out of range.
    """

    full_state_update = False
    total: Tensor
    count: Tensor
    undefined: Tensor

    def __init__(
        self,
        measure: Callable[..., Tensor],
        groups: Mapping[str, int] | None = None,
        *,
        shape: tuple[int, ...] = (),
        summary: Callable[[Tensor], Tensor] | None = None,
        **options: Unpack[MetricOptions],
    ) -> None:
        super().__init__(**options)
        self.measure, self.summary, self.groups = measure, summary, dict(groups or {})
        for name, number in self.groups.items():
            if number < 2:
                raise ValueError(f"groups must be at least 2 of a grouping; got {number} of {name!r}: leave it out")
        rows = 1 + sum(self.groups.values())  # all samples, then every grouping's groups
        self.add_state("total", torch.zeros(rows, *shape, dtype=torch.float64), "sum")
        self.add_state("count", torch.zeros(rows, dtype=torch.int64), "sum")
        self.add_state("undefined", torch.zeros((), dtype=torch.int64), "sum")
        # A MetricCollection updates only one of several metrics whose states are equal after the first batch, which
        # shares of a few samples may be by chance. NaN equals nothing, and stays NaN in any sum.
        self.add_state("apart", torch.tensor(torch.nan), "sum")

    def update(self, *inputs: Tensor, **groups: Tensor) -> None:
        """Measure a batch.

        Args:
            inputs: arguments of `measure`.
            groups: each sample's group (N,) in every grouping, by name.
        """
        values = self.measure(*inputs).double()  # (N, *shape)
        defined = ~values.unsqueeze(1).flatten(1).isnan().any(1)
        values = values[defined]
        for rows in self._rows(groups, len(defined)):
            self.total.index_add_(0, rows[defined], values)
            self.count += rows[defined].bincount(minlength=len(self.count))
        self.undefined += (~defined).sum()

    def _rows(self, groups: Mapping[str, Tensor], samples: int) -> list[Tensor]:
        """Return each sample's rows (N,) in the state: one entry for all samples, and one for each grouping."""
        if groups.keys() != self.groups.keys():
            raise ValueError(
                f"groups must be given by name for {', '.join(self.groups) or 'no grouping'}; "
                f"got {', '.join(groups) or 'none'}"
            )
        rows, start = [torch.zeros(samples, dtype=torch.int64, device=self.device)], 1
        for name, number in self.groups.items():
            found = groups[name]
            if found.shape != (samples,) or found.is_floating_point():
                raise ValueError(
                    f"{name} must be the group of each of {samples} samples, whole numbers; "
                    f"got {found.dtype} of shape {tuple(found.shape)}"
                )
            if samples and not (0 <= found.min() and found.max() < number):
                raise ValueError(f"{name} must be in 0 to {number - 1}; got {int(found.min())} to {int(found.max())}")
            rows.append(found.long() + start)
            start += number
        return rows

    def compute(self) -> GroupedResult:
        """Compute the result over all samples so far, in all processes."""
        means = self.total / self.count.view(-1, *[1] * (self.total.ndim - 1))  # 0 / 0 is NaN
        overall, *groups = (means if self.summary is None else self.summary(means)).split([1, *self.groups.values()])
        return GroupedResult(overall[0], dict(zip(self.groups, groups, strict=True)), self.undefined)


class GroupedMean(Grouped):
    """Means of given values (N,); NaN is left out and counted.

    Args:
        groups: grouping -> number of its groups, at least 2.
        options: torchmetrics' own.

    Example:
        >>> accuracy = GroupedMean({"background": 2})
        >>> accuracy.update(torch.tensor([1, 0, 1, 1]), background=torch.tensor([0, 0, 1, 1]))
        >>> accuracy.compute().groups["background"]  # its minimum is the worst group's accuracy
        tensor([0.5000, 1.0000], dtype=torch.float64)

    """

    def __init__(self, groups: Mapping[str, int] | None = None, **options: Unpack[MetricOptions]) -> None:
        super().__init__(_values, groups, **options)


def _values(values: Tensor) -> Tensor:
    return values
