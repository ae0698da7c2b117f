"""Measure how many pixels seeds cover, and how right they are, class by class."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from looksharp.data.seed_folder import SeedFolder
from looksharp.data.split import Split
from looksharp.evaluation.true_labels import true_labels
from looksharp.files import write_text
from looksharp.marks.class_images import UNKNOWN, read_class_image
from looksharp.metrics.segmentation import pixel_confusion, segmentation_scores

__all__ = ["SeedTable", "measure_seeds"]


@dataclass(frozen=True)
class SeedTable:
    """Measurements of seeds; the background is the first of the classes.

    Attributes:
        classes: names.
        share: (C,) share of all pixels that are seeds of the class.
        precision: (C,) share of its seeds that are of the class, over images with masks; NaN where unknown.
        recall: (C,) share of the class's pixels that are its seeds, over images with masks; NaN where unknown.
        images: number of images.
        masked: number of images with masks.
        remarks: what is odd -> number of images.
    """

    classes: tuple[str, ...]
    share: Tensor
    precision: Tensor
    recall: Tensor
    images: int
    masked: int
    remarks: dict[str, int]

    def __str__(self) -> str:
        """Return the table as text."""
        width = max(map(len, (*self.classes, "mean of classes")))
        lines = [f"{'':{width}}   share  precision  recall"]
        for name, *values in self._rows():
            shown = [f"{value:.4f}" if value == value else "-" for value in values]
            lines.append(f"{name:{width}}  {shown[0]:>6}  {shown[1]:>9}  {shown[2]:>6}")
        known = f"{self.masked:,} of {self.images:,} images have masks" if self.masked else "no image has masks"
        return "\n".join([*lines, known, *(f"note: {text}: {count:,}" for text, count in self.remarks.items())])

    def csv(self) -> str:
        """Return the table as comma-separated values; what is unknown is empty."""
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(["class", "share", "precision", "recall"])
        for name, *values in self._rows():
            writer.writerow([name, *(f"{value:.6f}" if value == value else "" for value in values)])
        return text.getvalue()

    def _rows(self) -> list[tuple[str, float, float, float]]:
        columns = [each.tolist() for each in (self.share, self.precision, self.recall)]
        rows = [(name, *values) for name, *values in zip(self.classes, *columns, strict=True)]
        means = [float(self.share.sum()), *(float(each.nanmean()) for each in (self.precision, self.recall))]
        return [*rows, ("all", means[0], means[1], means[2])]


def measure_seeds(folder: SeedFolder, split: Split, *, progress: bool = True) -> SeedTable:
    """Read all seeds of a split, and write OUT/seeds.csv.

    Args:
        folder: the seeds.
        split: their images, with masks where known.
        progress: show a progress bar.

    Raises:
        ValueError: if a file is damaged, of another size than its image's masks, or has an unknown index.
    """
    classes = len(folder.classes) + 1
    counts = torch.zeros(UNKNOWN + 1, dtype=torch.int64)
    confusion = torch.zeros(classes, classes + 1, dtype=torch.int64)
    masked = empty = 0
    for place in tqdm(range(len(split)), "measuring seeds", disable=not progress, leave=False):
        seeds = read_class_image(folder.file(split.name(place)), len(folder.classes))
        counts += seeds.flatten().bincount(minlength=UNKNOWN + 1)
        empty += not (seeds != UNKNOWN).any()
        truth = true_labels(split, place)
        if truth is not None:
            masked += 1
            confusion += pixel_confusion(seeds, truth, classes)
    scores = segmentation_scores(confusion)
    share = counts[:classes].double() / counts.sum().clamp(min=1)
    remarks = {"images without any seed (of no class, or with maps of zeros)": empty} if empty else {}
    names = ("background", *folder.classes)
    found = SeedTable(names, share, scores.precision, scores.recall, len(split), masked, remarks)
    write_text(folder.root / "seeds.csv", found.csv())
    return found
