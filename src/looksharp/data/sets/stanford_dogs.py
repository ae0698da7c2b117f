"""Stanford Dogs, with boxes as marks.

From http://vision.stanford.edu/aditya86/ImageNetDogs: images.tar, annotation.tar and lists.tar. The root holds

    Images/n02085620-Chihuahua/n02085620_10074.jpg ...
    Annotation/n02085620-Chihuahua/n02085620_10074 ... (XML, without a suffix)
    train_list.mat and test_list.mat, here or in lists
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from looksharp.data.listed import Listed, check_files, find_home, listed_data
from looksharp.data.matlab import read_mat
from looksharp.data.registry import data_set
from looksharp.data.split import Data
from looksharp.marks.regions import Region, box_regions
from looksharp.marks.union import Box

__all__ = ["read_stanford_dogs"]

_EDGES = ("xmin", "ymin", "xmax", "ymax")


@data_set("stanford_dogs")
def read_stanford_dogs(root: Path) -> Data:
    """Read Stanford Dogs: 120 classes, 12,000 training and 8,580 test images; boxes where Annotation is there.

    Args:
        root: the folder that holds Images.

    Raises:
        ValueError: if a file or an image is missing or damaged, or a class is empty.
    """
    home = find_home("stanford_dogs", root, ("stanford_dogs", "StanfordDogs"), "Images")
    classes = sorted(folder.name for folder in (home / "Images").iterdir() if folder.is_dir())
    numbers = {name: label for label, name in enumerate(classes)}
    files: dict[str, Listed] = {}
    for split in ("train", "test"):
        table = _table(home, split)
        (names,) = read_mat(table, ["file_list"])
        listed = [str(name) for name in np.atleast_1d(names)]
        check_files(home / "Images", listed, table.name)
        files[split] = [(f"Images/{name}", numbers[name.partition("/")[0]]) for name in listed]
    regions: dict[str, Region] | None = None
    notes: Counter[str] = Counter()
    if (home / "Annotation").is_dir():
        paths = [path for listed in files.values() for path, _ in listed]
        regions, notes = box_regions(home, {path: _boxes(home, path) for path in paths}, home / "Annotation")
    return listed_data(home, classes, files, regions=regions, notes=notes)


def _table(home: Path, split: str) -> Path:
    name = f"{split}_list.mat"
    found = next((path for path in (home / name, home / "lists" / name) if path.is_file()), None)
    if found is None:
        raise ValueError(f"{home / name} does not exist, nor does {home / 'lists' / name}")
    return found


def _boxes(home: Path, path: str) -> list[Box]:
    """Return every dog's box: they are all of the image's class."""
    file = home / "Annotation" / Path(path).relative_to("Images").with_suffix("")
    if not file.is_file():
        raise ValueError(f"{file} does not exist, though there is an image of that name")
    try:
        boxes = [[float(item.findtext(e, "")) for e in _EDGES] for item in ElementTree.parse(file).iter("bndbox")]
        if not all(math.isfinite(edge) for box in boxes for edge in box):
            raise ValueError("an edge is no finite number")
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise ValueError(
            f"{file} must be XML with numbers xmin, ymin, xmax and ymax in every bndbox: {error}"
        ) from None
    return [(left, top, right, bottom) for left, top, right, bottom in boxes]
