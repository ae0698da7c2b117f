"""Masked objects of a split, read with their images, and the partners that lend them surroundings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from looksharp.batch import Batch
from looksharp.data.split import Pixels, Split
from looksharp.interventions.division import OBJECTS, Division
from looksharp.interventions.surroundings import feather

__all__ = ["ObjectReader", "Objects", "draw_partners", "exchangeable", "masked_objects", "usable"]


@dataclass(frozen=True, eq=False)
class Objects:
    """(image, class) pairs of a split, each once.

    Attributes:
        samples: (G,) the images' places in the split, in order.
        labels: (G,) the classes.
    """

    samples: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, rows: Tensor) -> Objects:
        return Objects(self.samples[rows], self.labels[rows])


def masked_objects(split: Split) -> Objects:
    """Collect the objects that have a mask of a class their image shows; multi-label images yield one per label.

    Raises:
        ValueError: if there is none.
    """
    marks = split.marks
    found = sorted(set(zip(marks.samples, marks.labels, strict=True))) if marks is not None else []
    objects = Objects(*torch.tensor(found, dtype=torch.long).view(-1, 2).unbind(1))
    objects = objects[_shown(split.targets, objects.samples, objects.labels)]
    if not len(objects):
        raise ValueError(
            "interventions need masks or boxes, but no image of the split has one of a class that it shows: mark two "
            "images or more of each of two classes"
        )
    return objects


def _shown(targets: Tensor, samples: Tensor, labels: Tensor) -> Tensor:
    """Return whether images show classes, (G,) boolean."""
    return targets[samples] == labels if targets.ndim == 1 else targets[samples, labels] > 0.5


def usable(masks: Tensor) -> Tensor:
    """Return whether masks (N, H, W) mark an object and, with their edges, leave some surroundings; (N,) boolean."""
    return (masks.amax((-2, -1)) > 0) & (feather(masks).amin((-2, -1)) == 0)


def draw_partners(objects: Objects, targets: Tensor, count: int, seed: int) -> Tensor:
    """Draw for each of G objects, with replacement, others in whose surroundings it will be shown.

    Args:
        objects: G objects.
        targets: targets of the split, (N,) or multi-hot (N, classes).
        count: number of either kind, k.
        seed: seed of the draws.

    Returns:
        (G, 2, k) places among the objects: first objects of the same class in other images, then objects in images
        that do not show the class. -1 where there are none.
    """
    generator = torch.Generator().manual_seed(seed)
    partners = torch.full((len(objects), 2, count), -1)
    for label in objects.labels.unique():
        own = (objects.labels == label).nonzero().flatten()
        foreign = (~_shown(targets, objects.samples, label.expand(len(objects)))).nonzero().flatten()
        if len(own) > 1:
            steps = torch.randint(1, len(own), (len(own), count), generator=generator)  # never back to itself
            partners[own, 0] = own[(torch.arange(len(own)).unsqueeze(1) + steps) % len(own)]
        if len(foreign):
            partners[own, 1] = foreign[torch.randint(len(foreign), (len(own), count), generator=generator)]
    return partners


def exchangeable(objects: Objects, partners: Tensor) -> Tensor:
    """Return places of the objects that have partners (G, kinds, k) of every kind.

    Raises:
        ValueError: if no object has.
    """
    rows = (partners >= 0).flatten(1).all(1).nonzero().flatten()
    if not len(rows):
        counts = objects.labels.bincount()
        raise ValueError(
            f"interventions need at least two usable masks of a class, and one in an image without that class; the "
            f"split has {len(objects)}, of classes {counts.nonzero().flatten().tolist()}, at most "
            f"{max(counts.tolist(), default=0)} of one class: mark more images"
        )
    return rows


@dataclass(frozen=True)
class ObjectReader:
    """Read objects of a split as the network sees them, batch by batch.

    Attributes:
        split: the images.
        pixels: the way from their pixels to a network's input.
        device: device that they are moved to.
        workers: processes that read image files.
        division: how images are divided and exchanged.
    """

    split: Split
    pixels: Pixels
    device: torch.device | str = "cpu"
    workers: int = 0
    division: Division = OBJECTS

    def read(self, objects: Objects, batches: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images (B, 3, H, W) and masks (B, H, W) of the objects at the places (B,) that each batch lists."""
        lists = [objects.samples[rows].tolist() for rows in batches]
        loader = self.split.loader(lists, self.pixels, device=self.device, workers=self.workers)
        for batch, rows in zip(loader, batches, strict=True):
            yield batch.image, _masks(batch, objects.labels[rows].to(batch.image.device))

    def read_exchanged(self, objects: Objects, batches: Sequence[tuple[Tensor, Tensor]]) -> Iterator[Tensor]:
        """Yield images (B, 3, H, W) of objects at the first places (B,), in the surroundings of those at the second."""
        for images, masks in self.read(objects, [torch.cat(both) for both in batches]):
            (own, others), (own_masks, other_masks) = images.chunk(2), masks.chunk(2)
            yield self.division.exchange(own, own_masks, others, other_masks)


def _masks(batch: Batch, labels: Tensor) -> Tensor:
    """Unite each image's masks of one class (B,) into (B, H, W)."""
    assert batch.marks is not None
    marks, size = batch.marks, batch.image.shape[-2:]
    chosen = marks.label == labels[marks.sample]
    place = marks.sample[chosen, None, None].expand(-1, *size)
    masks = marks.mask.new_zeros(len(labels), *size)
    return masks.scatter_reduce(0, place, marks.mask[chosen], "amax").to(batch.image.dtype)
