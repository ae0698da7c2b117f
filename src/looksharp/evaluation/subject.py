"""Parts that suites share: the subject, and a batch of it as the network saw it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from looksharp.attention.attend import maps_of
from looksharp.attention.finite import check_finite
from looksharp.attention.mechanisms import Mechanism, reads_layers
from looksharp.data.sampling import InOrder
from looksharp.data.split import BatchLoader, Pixels, Split
from looksharp.evaluation.result import Evaluation
from looksharp.objectives.base import Forward
from looksharp.objectives.icasc import confused_classes
from looksharp.processes.gathering import gathered
from looksharp.processes.place import check_shares

__all__ = ["Columns", "Measure", "Objects", "Seen", "Subject", "class_sizes", "listed", "means_by"]


@dataclass(frozen=True)
class Subject:
    """A network, the images it is measured on, and the mechanism of its maps.

    Attributes:
        model: the classifier, in the mode to measure it in.
        split: the images.
        pixels: the way from their pixels to a network's input.
        mechanism: mechanism that makes the maps.
        layers: (inner, last); found in the network if None.
        batch_size: images a forward.
        workers: processes that read image files.
        classes: class names; numbers if None.
        crf: also measure predicted masks that a CRF has sharpened.
    """

    model: nn.Module
    split: Split
    pixels: Pixels
    mechanism: str | Mechanism = "grad_cam"
    layers: tuple[str, str] | None = None
    batch_size: int = 64
    workers: int = 0
    classes: Sequence[str] | None = None
    crf: bool = True

    @property
    def device(self) -> torch.device:
        """Return the device of the model's first parameter."""
        return next((p.device for p in self.model.parameters()), torch.device("cpu"))

    @property
    def metric_device(self) -> torch.device:
        """Return the device where maps are measured: the model's, if it has float64."""
        return torch.device("cpu") if self.device.type == "mps" else self.device

    def batches(self, pixels: Pixels | None = None) -> BatchLoader:
        """Yield all images in order, or this process's share, with other pixels than the subject's if given.

        Raises:
            ValueError: if there are fewer images than processes.
        """
        check_shares(len(self.split))
        order = InOrder(len(self.split), self.batch_size, shared=True)
        return self.split.loader(order, pixels or self.pixels, device=self.device, workers=self.workers)

    def class_names(self, count: int) -> list[str]:
        """Return a name for each of the network's `count` classes.

        Raises:
            ValueError: if the number of names differs.
        """
        if self.classes is not None and len(self.classes) != count:
            raise ValueError(f"classes must name the network's {count}; got {len(self.classes)}")
        return [str(label) for label in range(count)] if self.classes is None else list(self.classes)


@dataclass(frozen=True)
class Objects:
    """Objects of a batch whose masks are known, and the maps of their classes; G of them.

    Attributes:
        maps: raw (G, h, w), of the last layer.
        masks: (G, H, W) in [0, 1].
        image: (G,) place in the batch.
        label: (G,) class.
    """

    maps: Tensor
    masks: Tensor
    image: Tensor
    label: Tensor


@dataclass(frozen=True)
class Seen:
    """One batch, as the network saw it. Values that several suites read are computed once, at the first reading.

    Attributes:
        subject: the subject to measure.
        forward: the forward of the batch.
        layers: (inner, last), if they were recorded.
    """

    subject: Subject
    forward: Forward
    layers: tuple[str, str] | None

    @cached_property
    def logits(self) -> Tensor:
        """Return detached logits (B, C)."""
        return self.forward.logits.detach().to(self.subject.metric_device)

    @cached_property
    def confused(self) -> tuple[Tensor, Tensor]:
        """Return classes (B, T + 1) and which are valid (B, T); see `confused_classes`."""
        return confused_classes(self.logits, self.forward.batch.target.to(self.logits.device))

    @cached_property
    def maps(self) -> tuple[Tensor, Tensor]:
        """Return raw maps (B, T + 1, h, w) of these classes, at the inner layer and at the last.

        Of a mechanism that reads no layers both are the same map.
        """
        assert self.layers is not None
        forward = self.forward
        made = maps_of(
            forward.model,
            forward.batch.image,
            forward.output,
            forward.features,
            self.confused[0],
            self.subject.mechanism,
        )
        for layer, maps in made.items():
            check_finite(maps, f"the maps of layer {layer!r}")
        if reads_layers(self.subject.mechanism):
            inner, last = (made[layer] for layer in self.layers)
        else:
            inner = last = next(iter(made.values()))
        return inner.to(self.logits.device), last.to(self.logits.device)

    @cached_property
    def objects(self) -> Objects | None:
        """Return the objects of their image's true classes, whose maps are then among those made."""
        batch = self.forward.batch.to(self.logits.device)
        if not batch.marks:
            return None
        marks = batch.marks
        matches = self.confused[0][marks.sample, :-1] == marks.label.unsqueeze(1)  # (G, T)
        if batch.multilabel:  # where some of the classes are only padding
            matches = matches & (batch.target[marks.sample, marks.label] > 0.5).unsqueeze(1)
        found = matches.any(1)
        place, image = matches.int().argmax(1)[found], marks.sample[found]
        return Objects(self.maps[1][image, place], marks.mask[found], image, marks.label[found])


class Measure(ABC):
    """One suite's measurement of a split, batch by batch; memory is bounded except for a few numbers per image.

    Of several processes each updates with its own share of the images, and `compute` returns the results of all in
    every one: `Columns` and torchmetrics' classes bring theirs together; other sums do by `summed`.
    """

    @abstractmethod
    def update(self, seen: Seen) -> None:
        """Measure a batch."""

    @abstractmethod
    def compute(self) -> Evaluation:
        """Return the results of all batches so far, in all processes."""


class Columns:
    """Values of every image, by name, on the CPU; of several processes each adds those of its share."""

    def __init__(self) -> None:
        self._parts: dict[str, list[Tensor]] = {}

    def add(self, values: dict[str, Tensor]) -> None:
        """Add a batch's values (B,), with the same names for every batch."""
        for name, found in values.items():
            self._parts.setdefault(name, []).append(found.detach().float().cpu())

    def joined(self) -> dict[str, Tensor]:
        """Name -> (N,) in the split's order, without those that are defined for no image."""
        found = {name: gathered(torch.cat(parts)) for name, parts in self._parts.items()}
        return {name: column for name, column in found.items() if not column.isnan().all()}


def means_by(values: Tensor, index: Tensor, count: int) -> Tensor:
    """Average the values that are not NaN at each index, (count,); NaN where there is none.

    Args:
        values: (P,).
        index: (P,) the mean that each value belongs to, such as its image or its class.
        count: number of means.

    Example:
        >>> means_by(torch.tensor([1.0, 2.0, torch.nan]), torch.tensor([2, 2, 0]), 3)
        tensor([   nan,    nan, 1.5000])

    """
    defined = ~values.isnan()
    total = values.new_zeros(count).index_add_(0, index[defined], values[defined])
    return total / index[defined].bincount(minlength=count)  # 0 / 0 is NaN


def class_sizes(targets: Tensor, count: int) -> Tensor:
    """Count the images of each of `count` classes, from class indices (N,) or multi-hot targets (N, classes)."""
    return (targets > 0.5).sum(0).cpu() if targets.ndim == 2 else targets.cpu().bincount(minlength=count)


def listed(values: Tensor) -> Any:
    """Convert a tensor of any shape to nested lists, with None for NaN."""
    if values.ndim:
        return [listed(value) for value in values]
    return None if values.isnan() else values.item()
