"""Marks of a split, found by image: masks for some of its (image, class) pairs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from looksharp.marks.regions import MadeMasks

__all__ = ["Marks", "boxes_of"]


class Marks:
    """Masks for some (image, class) pairs of a split, found by image.

    Args:
        samples: the images' places in the split, M of them; an image may come more than once.
        labels: M class indices.
        masks: M masks (H, W), boolean, each of its image's own size; `MadeMasks` are not kept.
    """

    def __init__(self, samples: Sequence[int], labels: Sequence[int], masks: Sequence[Tensor] | Tensor) -> None:
        if not len(samples) == len(labels) == len(masks):
            raise ValueError(
                f"samples, labels and masks must be of one length; got {len(samples)}, {len(labels)}, {len(masks)}"
            )
        self.samples, self.labels, self.masks = list(samples), list(labels), masks
        self._rows: dict[int, list[int]] = {}
        for row, sample in enumerate(self.samples):
            self._rows.setdefault(sample, []).append(row)

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def images(self) -> list[int]:
        """Return places of the images that have a mark, in order, each once."""
        return sorted(self._rows)

    def of(self, sample: int) -> list[tuple[int, Tensor]]:
        """Return the (class, mask) of every mark of an image."""
        return [(self.labels[row], self.masks[row]) for row in self._rows.get(sample, ())]

    def unknown(self, sample: int) -> Tensor | None:
        """Return the pixels (H, W) that an image's class image says are of no known class; None if there is none."""
        if not isinstance(self.masks, MadeMasks):
            return None
        found = (self.masks.unknown(row) for row in self._rows.get(sample, ()))
        return next((pixels for pixels in found if pixels is not None), None)

    def restricted(self, samples: Iterable[int]) -> Marks:
        """Return the marks of some images alone."""
        return self.taken([row for sample in samples for row in self._rows.get(sample, ())])

    def taken(self, rows: Sequence[int]) -> Marks:
        """Return some of the marks, by their places here."""
        masks = self.masks.taken(rows) if isinstance(self.masks, MadeMasks) else [self.masks[r] for r in rows]
        return Marks([self.samples[r] for r in rows], [self.labels[r] for r in rows], masks)

    def relabelled(self, table: Sequence[int]) -> Marks:
        """Return the marks with each class renumbered as `table` says, without those of a class at -1.

        Marks of an image whose classes become one are united.
        """
        marks = self.taken([row for row, label in enumerate(self.labels) if table[label] >= 0])
        labels = [table[label] for label in marks.labels]
        rows: dict[tuple[int, int], list[int]] = {}
        for row, key in enumerate(zip(marks.samples, labels, strict=True)):
            rows.setdefault(key, []).append(row)
        if len(rows) == len(labels):
            return Marks(marks.samples, labels, marks.masks)
        united = [torch.stack([marks.masks[row].bool() for row in found]).any(0) for found in rows.values()]
        return Marks([sample for sample, _ in rows], [label for _, label in rows], united)

    def as_boxes(self) -> Marks:
        """Return the marks with every mask replaced by the box around it."""
        masks = self.masks.boxed() if isinstance(self.masks, MadeMasks) else boxes_of(self.masks)
        return Marks(self.samples, self.labels, masks)


def boxes_of(masks: Sequence[Tensor] | Tensor) -> list[Tensor]:
    """Return, for each mask (H, W), the filled box around it; an empty mask stays empty."""
    boxes = []
    for mask in masks:
        box = torch.zeros_like(mask)
        rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
        if len(rows):
            box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = 1
        boxes.append(box)
    return boxes
