"""VOC 2012's training images with the class masks of SBD: the 10,582 on which segmentation is trained.

Hariharan et al. 2011, "Semantic Contours from Inverse Detectors", marked the classes in 11,355 images of VOC. Their
masks come in two forms, and either will do:

- SegmentationClassAug, a folder of PNG files in the VOC year's folder, which segmentation projects distribute; or
- benchmark_RELEASE/dataset/{cls/*.mat,train.txt,val.txt}, as
  http://home.bharathh.info/pubs/codes/SBD/download.html has it, in the VOC year's folder or above it (torchvision's
  name for benchmark_RELEASE/dataset, sbd, is found too).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from looksharp.data.matlab import read_mat
from looksharp.data.tables import read_lines
from looksharp.marks.formats.voc import VOC_CLASSES
from looksharp.marks.marks import Marks
from looksharp.marks.mask_images import load_pixels
from looksharp.marks.regions import ClassMask, MadeMasks, Region, check_fit
from looksharp.marks.union import Mask

__all__ = ["augmented_names", "class_mask_marks"]

_LISTS = ("Segmentation/trainaug.txt", "Segmentation/train_aug.txt", "SegmentationAug/train_aug.txt")
_SBD = ("benchmark_RELEASE/dataset", "SBD/benchmark_RELEASE/dataset", "SBD", "sbd")
_VOID = 255


@dataclass(frozen=True)
class _SbdMask:
    """The pixels of one class in a .mat file of SBD."""

    file: Path
    index: int

    def mask(self) -> Mask:
        """Return the mask (H, W)."""
        mask: Mask = _sbd_pixels(self.file) == self.index
        return mask


def augmented_names(home: Path, train: Sequence[str], val: Sequence[str]) -> list[str]:
    """Return the images of the augmented training set.

    They are those of ImageSets/Segmentation/trainaug.txt (or train_aug.txt, also in SegmentationAug) if there is such a
    file, else `train` and all that SBD marks, without `val`.

    Args:
        home: the VOC year's folder.
        train: the images of Segmentation/train.txt.
        val: the images of Segmentation/val.txt.

    Raises:
        ValueError: if SBD's masks are nowhere, or the list has an image of `val`.
    """
    folder, sbd = home / "SegmentationClassAug", _sbd(home)
    if not folder.is_dir() and sbd is None:
        raise ValueError(
            f"voc.set 'augmented' needs SBD's masks: {folder}, or benchmark_RELEASE/dataset/cls in {home} or above it"
        )
    table = next((home / "ImageSets" / name for name in _LISTS if (home / "ImageSets" / name).is_file()), None)
    if table is not None:
        lines = [line.split()[0] for line in read_lines(table, "a list of VOC")]
        names = [Path(line).stem if "/" in line else line for line in lines]  # some lists have the files' paths
        shared = sorted(set(names) & set(val))
        if shared:
            raise ValueError(f"{table} lists {shared[0]}, which is an image of Segmentation/val.txt")
        return names
    marked = {file.stem for file in folder.glob("*.png")}
    if sbd is not None:
        marked |= {file.stem for file in (sbd / "cls").glob("*.mat")}
    return sorted((marked | set(train)) - set(val))


def class_mask_marks(home: Path, names: Sequence[str]) -> Marks:
    """Return the classes in each image's mask, from SegmentationClass, else SegmentationClassAug, else SBD.

    Raises:
        ValueError: if an image has no mask, or one is damaged or of another size.
    """
    sbd = _sbd(home)
    samples: list[int] = []
    labels: list[int] = []
    regions: list[Region] = []
    for sample, name in enumerate(tqdm(names, "reading class masks", disable=len(names) < 2000, leave=False)):
        file, read, kind = _mask_of(home, sbd, name)
        pixels = read(file)
        check_fit(file, pixels.shape, home / "JPEGImages" / f"{name}.jpg")
        counts = np.bincount(pixels.ravel(), minlength=_VOID + 1)
        present = [int(index) for index in np.flatnonzero(counts) if index not in (0, _VOID)]
        if max(present, default=0) > len(VOC_CLASSES):
            raise ValueError(f"{file} must hold class indices, 1 to {len(VOC_CLASSES)}; got index {max(present)}")
        for index in present:
            samples.append(sample)
            labels.append(index - 1)
            regions.append(kind(file, index))
    return Marks(samples, labels, MadeMasks(regions))


def _sbd(home: Path) -> Path | None:
    folders = [base / below for base in (home, home.parent, home.parent.parent) for below in _SBD]
    return next((folder for folder in folders if (folder / "cls").is_dir()), None)


def _mask_of(
    home: Path, sbd: Path | None, name: str
) -> tuple[Path, Callable[[Path], NDArray[Any]], Callable[[Path, int], Region]]:
    for folder in ("SegmentationClass", "SegmentationClassAug"):
        file = home / folder / f"{name}.png"
        if file.is_file():
            return file, _pixels, ClassMask
    if sbd is not None and (sbd / "cls" / f"{name}.mat").is_file():
        return sbd / "cls" / f"{name}.mat", _sbd_pixels, _SbdMask
    raise ValueError(f"image {name} of {home} has a class mask in none of SegmentationClass, SegmentationClassAug, SBD")


def _pixels(file: Path) -> NDArray[Any]:
    mode, pixels = load_pixels(file)
    if mode[0] not in "PL":
        raise ValueError(f"{file} must hold class indices, as a grey or palette image; got pixels of mode {mode}")
    return pixels


def _sbd_pixels(file: Path) -> NDArray[Any]:
    (content,) = read_mat(file, ["GTcls"])
    if "Segmentation" not in (content.dtype.names or ()):
        raise ValueError(f"{file} must have GTcls.Segmentation, as SBD's files in cls have")
    pixels: NDArray[Any] = content["Segmentation"].item()
    return pixels
