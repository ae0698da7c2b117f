"""Write suspects as files: a contact sheet to look at, a COCO file to fill in, a table, and the tested groups."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from looksharp.data.mark_names import held_name
from looksharp.data.split import Data, Pixels
from looksharp.data.transform import image_transform
from looksharp.drawing.contact_sheet import Tile, contact_sheet
from looksharp.files import replacing, write_text
from looksharp.marks.form import form_of
from looksharp.suspects.choosing import Suspect, Suspects
from looksharp.suspects.finding import Found
from looksharp.suspects.groups import write_groups
from looksharp.suspects.page import write_page

__all__ = ["write_suspects"]


def write_suspects(
    found: Suspects, data: Data, out: str | Path, pixels: Pixels | None = None, tested: Found | None = None
) -> list[Path]:
    """Write contact_sheet.png, annotations.json and suspects.csv; for images held in memory also images/*.png.

    With groups that were tested, also groups.json (see `read_groups`) and index.html, their page; the contact sheet
    then outlines each image's region in place of the attended position, and has the groups in their order.

    annotations.json is COCO's: the images, the classes as categories, and an empty list of annotations. Filled in by
    any tool that reads COCO, `--marks` reads it. Where it is there already and somebody drew into it, that
    stays, and only the images that it lacks are added. Files are named by their path in the data folder; images
    held in memory by their place in the training split.

    Args:
        found: what `suspects` chose.
        data: the data set it was chosen from.
        out: folder for what is written.
        pixels: how images became the network's input; the data set's own way if not given.
        tested: the result of `find_groups`.

    Returns:
        The files written, those of images by their folder.

    Raises:
        ValueError: if an annotations.json is there that cannot be read.
    """
    out = Path(out)
    split, in_memory = data.splits["train"], _names(found, data)
    names = in_memory or [split.name(suspect.index) for suspect in found.chosen]
    images = [split.image(suspect.index).as_subclass(Tensor) for suspect in found.chosen]
    written = [out / "contact_sheet.png", out / "annotations.json", out / "suspects.csv"]
    sizes = [(image.shape[1], image.shape[2]) for image in images]
    content = form_of(written[1], list(zip(names, sizes, strict=True)), _categories(data))
    pixels = pixels or data.pixels
    contact_sheet(_groups(found, data, pixels, tested), written[0])
    write_text(written[1], json.dumps(content, indent=1) + "\n")
    table = StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(("rank", "file", "index", "class", "cluster", "score", "share"))
    for rank, (name, s) in enumerate(zip(names, found.chosen, strict=True), 1):
        rows.writerow((rank, name, s.index, data.classes[s.label], s.cluster, f"{s.score:.4f}", f"{s.share:.4f}"))
    write_text(written[2], table.getvalue())
    for name, image in zip(in_memory, images, strict=bool(in_memory)):
        with replacing(out / name) as temporary:
            Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy())).save(temporary)
    if tested is not None:
        write_groups(out / "groups.json", tested.groups)
        written += [out / "groups.json", write_page(out, tested, data.name, pixels)]
    return written + ([out / "images"] if in_memory else [])


def _categories(data: Data) -> Sequence[str]:
    """Return the classes that marks may be of: those that the data have, where they are some of a model's."""
    shown = set(data.sources.values())
    return [name for name in data.classes if name in shown] if shown else data.classes


def _names(found: Suspects, data: Data) -> list[str]:
    """Return names for images in memory; none for image files."""
    if data.splits["train"].folder is not None:
        return []
    return [held_name(suspect.index) for suspect in found.chosen]


def _groups(found: Suspects, data: Data, pixels: Pixels, tested: Found | None) -> list[tuple[str, list[Tile]]]:
    split, transform = data.splits["train"], image_transform(pixels)
    ranks = {suspect: rank for rank, suspect in enumerate(found.chosen, 1)}
    order = list(found.sizes) if tested is None else [group.number for group in tested.groups]
    verdicts = {} if tested is None else {group.number: f"; {group.verdict}" for group in tested.groups}
    outlines = _outlines(found, data, tested)

    def tile(suspect: Suspect) -> Tile:
        image = transform(split.image(suspect.index)).as_subclass(Tensor).float() / 255
        caption = f"{suspect.share:.0%} of the evidence, score {suspect.score:.2f}"
        title = f"{ranks[suspect]}. {data.classes[suspect.label]}"
        return Tile(image, title, caption, outlines.get(suspect, suspect.patch))

    groups = []
    for number in order:
        members = [tile(suspect) for suspect in found.chosen if suspect.cluster == number]
        ((label, most),) = Counter(found.label[found.cluster == number].tolist()).most_common(1)
        size, name = found.sizes[number], data.classes[label]
        heading = f"Group {number}: {size:,} images, {most / size:.0%} {name}{verdicts.get(number, '')}"
        groups.append((heading, members))
    return groups


def _outlines(found: Suspects, data: Data, tested: Found | None) -> dict[Suspect, Tensor]:
    """Return the regions of the chosen images, where they have one."""
    if tested is None:
        return {}
    places = {(suspect.cluster, suspect.index, data.classes[suspect.label]): suspect for suspect in found.chosen}
    return {
        places[key]: region.mask
        for group in tested.groups
        for region in group.regions
        if (key := (group.number, region.image, region.label)) in places
    }
