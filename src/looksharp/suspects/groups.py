"""Groups of images whose evidence looks alike, with the regions that carry it: groups.json."""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from looksharp.data.split import Pixels, Split
from looksharp.evaluation.fingerprint import model_fingerprint, split_fingerprint
from looksharp.files import write_text
from looksharp.marks.documents import read_json
from looksharp.marks.runs import row_runs
from looksharp.marks.values import Entry, listed, mapping, numbers, text, whole_numbers

__all__ = ["Figure", "Group", "Groups", "Region", "images_fingerprint", "read_groups", "write_groups"]

_AGAIN = "run looksharp suspects again"


@dataclass(frozen=True)
class Figure:
    """A share of images.

    Attributes:
        share: in [0, 1].
        interval: its 95% interval, (lowest, highest).
        images: number of pictures that it is a share of.
    """

    share: float
    interval: tuple[float, float]
    images: int


@dataclass(frozen=True, eq=False)
class Region:
    """The pixels of an image that carry the evidence for one of its classes.

    Attributes:
        image: its place in the split.
        label: the class's name.
        size: (H, W) of the network's input.
        runs: lengths of runs of zeros and ones in turn, down the columns; kept packed, since there are hundreds of them
            for each of many images.
    """

    image: int
    label: str
    size: tuple[int, int]
    runs: Sequence[int] = field(repr=False)

    @classmethod
    def of(cls, image: int, label: str, mask: Tensor) -> Region:
        """Pack a mask (H, W)."""
        flat = mask.detach().cpu().bool().numpy().T.ravel()
        changes = np.flatnonzero(np.diff(flat)) + 1
        runs = np.diff([0, *([0] if flat[0] else []), *changes, len(flat)])
        return cls(image, label, (mask.shape[0], mask.shape[1]), array("I", runs.tolist()))

    @property
    def mask(self) -> Tensor:
        """Return the region as (H, W) boolean."""
        height, width = self.size
        return torch.from_numpy(row_runs(self.runs, width, height, "a region").T.copy())

    @property
    def share(self) -> float:
        """Return the region's area as a share of the image's."""
        return sum(self.runs[1::2]) / (self.size[0] * self.size[1])


@dataclass(frozen=True, eq=False)
class Group:
    """Images in which the network reads something that looks alike.

    Attributes:
        number: from 1.
        regions: one for each (image, class) pair, by image.
        tests: what interventions on the regions say: test -> its share; see `looksharp.suspects.trials.TESTS`.
        verdict: what the tests say in a word.
        reason: what they say in a sentence.
    """

    number: int
    regions: tuple[Region, ...] = field(repr=False)
    tests: dict[str, Figure] = field(default_factory=dict)
    verdict: str = "unclear"
    reason: str = ""

    @property
    def images(self) -> list[int]:
        """Return places of its images in the split, rising, each once."""
        return sorted({region.image for region in self.regions})

    @property
    def classes(self) -> dict[str, int]:
        """Count its regions by class, the commonest first."""
        return dict(Counter(region.label for region in self.regions).most_common())


@dataclass(frozen=True, eq=False)
class Groups:
    """All groups that were found in a split.

    Attributes:
        path: the file; None before they are written.
        run: fingerprint of the network.
        data: fingerprint of the split's images and targets.
        split: its name.
        size: (H, W) of the network's input, and of every region.
        classes: class names.
        groups: in order.
    """

    path: Path | None
    run: str
    data: str
    split: str
    size: tuple[int, int]
    classes: tuple[str, ...]
    groups: tuple[Group, ...]

    def __len__(self) -> int:
        return len(self.groups)

    def __iter__(self) -> Iterator[Group]:
        return iter(self.groups)

    def __getitem__(self, number: int) -> Group:
        """Return a group by its number.

        Raises:
            ValueError: if there is no such group, or it is empty.
        """
        found = next((group for group in self.groups if group.number == number), None)
        named = ", ".join(str(group.number) for group in self.groups if group.regions) or "none"
        if found is None:
            raise ValueError(f"{self._named} has no group {number}; it has {named}")
        if not found.regions:
            raise ValueError(f"group {number} of {self._named} is empty; groups with images are {named}")
        return found

    def check(self, model: nn.Module, split: Split, pixels: Pixels) -> None:
        """Test that the groups are of this network and of these images.

        Args:
            model: the network that they were found with.
            split: the images; their marks and groups do not matter.
            pixels: the way from the images to the network's input.

        Raises:
            ValueError: if they are not.
        """
        if self.run != model_fingerprint(model):
            raise ValueError(f"{self._named} has groups of another run, or of another checkpoint of it; {_AGAIN}")
        if self.data != images_fingerprint(split, pixels):
            raise ValueError(f"{self._named} has groups of other images than the run's {self.split} split; {_AGAIN}")

    @property
    def _named(self) -> str:
        return "groups" if self.path is None else str(self.path)


def images_fingerprint(split: Split, pixels: Pixels) -> str:
    """Return a text that is equal for splits of the same images and targets, whatever marks they have."""
    return split_fingerprint(replace(split, marks=None, cues=None, groups=None), pixels)


def write_groups(path: Path, groups: Groups) -> None:
    """Write groups as JSON; masks are COCO's run lengths, at the size of the network's input."""
    content = {
        "looksharp": version("looksharp"),
        "run": groups.run,
        "data": groups.data,
        "split": groups.split,
        "size": list(groups.size),
        "classes": list(groups.classes),
    }
    write_text(path, _with_list(content, "groups", map(_written, groups)) + "\n")


def _written(group: Group) -> str:
    entry = {
        "group": group.number,
        "images": len(group.images),
        "classes": group.classes,
        "tests": {
            name: {"share": figure.share, "interval": list(figure.interval), "images": figure.images}
            for name, figure in group.tests.items()
        },
        "verdict": group.verdict,
        "reason": group.reason,
    }
    regions = (
        {"image": each.image, "class": each.label, "mask": {"size": list(each.size), "counts": list(each.runs)}}
        for each in group.regions
    )
    return _with_list(entry, "regions", map(_json, regions))


def _with_list(content: Entry, name: str, items: Iterable[str]) -> str:
    """Write a mapping and, last in it, a list whose items are written one by one: unpacked, all would take too much."""
    return f"{_json(content)[:-1]}, {_json(name)}: [{', '.join(items)}]}}"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def read_groups(path: Path | str) -> Groups:
    """Read groups back.

    Args:
        path: groups.json, or the folder that holds it.

    Raises:
        ValueError: if the file is missing or damaged; the message names it in one line.
    """
    path = Path(path)
    path = path / "groups.json" if path.is_dir() else path
    if not path.is_file():
        raise ValueError(f"{path} does not exist; looksharp suspects RUN --out {path.parent} writes it")
    content = mapping(read_json(path, "the groups of looksharp suspects", _AGAIN))
    run, data, split = (text(content.get(key)) for key in ("run", "data", "split"))
    size, classes = whole_numbers(content.get("size")), listed(content.get("classes"))
    groups = listed(content.get("groups"))
    if run is None or data is None or split is None or size is None or len(size) != 2 or not classes or groups is None:
        raise ValueError(
            f"{path} must have run, data, split, size, classes and groups, as suspects writes them; {_AGAIN}"
        )
    found = Groups(path, run, data, split, (size[0], size[1]), tuple(map(str, classes)), ())
    return replace(found, groups=tuple(_group(mapping(entry), found) for entry in groups))


def _group(entry: Entry, within: Groups) -> Group:
    number, regions, tests = entry.get("group"), listed(entry.get("regions")), mapping(entry.get("tests"))
    where = f"{within.path}: group {number!r:.40}"
    if type(number) is not int or regions is None:
        raise ValueError(f"{where} must have a number and regions; {_AGAIN}")
    return Group(
        number,
        tuple(_region(mapping(each), within, where) for each in regions),
        {name: _figure(mapping(value), f"{where}, test {name}") for name, value in tests.items()},
        text(entry.get("verdict")) or "unclear",
        text(entry.get("reason")) or "",
    )


def _region(entry: Entry, within: Groups, where: str) -> Region:
    image, label, runs = (
        entry.get("image"),
        text(entry.get("class")),
        whole_numbers(mapping(entry.get("mask")).get("counts")),
    )
    if type(image) is not int or image < 0 or label not in within.classes:
        raise ValueError(
            f"{where} has a region of image {image!r:.40} and class {label!r}, which there are not; {_AGAIN}"
        )
    height, width = within.size
    if runs is None or mapping(entry["mask"]).get("size") != [height, width] or sum(runs) != height * width:
        raise ValueError(
            f"{where}: the region of image {image} must have run lengths for {height} x {width} px; {_AGAIN}"
        )
    return Region(image, label, within.size, array("I", runs))


def _figure(entry: Entry, where: str) -> Figure:
    found = numbers([entry.get("share"), *(listed(entry.get("interval")) or [])])
    images = entry.get("images")
    if found is None or len(found) != 3 or type(images) is not int:
        raise ValueError(f"{where} must have a share, an interval and a number of images; {_AGAIN}")
    share, low, high = found
    return Figure(share, (low, high), images)
