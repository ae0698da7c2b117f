"""Write the masks that a segmentation run predicts, and a picture of them beside the photographs."""

from __future__ import annotations

from collections.abc import Sequence
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from tqdm import tqdm

from looksharp.attention.finite import check_weights
from looksharp.data.seed_folder import SeedFolder, read_seed_folder
from looksharp.data.transform import image_transform
from looksharp.evaluation.dense import dense_odds, odds_at_size, refined
from looksharp.images.reading import read_image
from looksharp.marks.class_images import read_class_image, write_class_image
from looksharp.training.folder import Run, load_run

if TYPE_CHECKING:
    from looksharp.drawing.overlay import Pixels

__all__ = ["predict_masks"]

_MAPS = 2  # classes whose probability is drawn
_DRAWN = 50  # rows of the picture


def predict_masks(
    run: Run | str | Path,
    images: Sequence[str | Path],
    out: str | Path,
    *,
    crf: bool = True,
    seeds: str | Path | None = None,
    progress: bool = True,
) -> list[Path]:
    """Write OUT/masks/NAME.png, class indices with VOC's palette at each image's own size, and OUT/masks.png.

    The picture has a row for each of the first 50 images, as ICASC Fig. 8 and GAIN Fig. 4 and 5: the photograph, its
    seeds, the probabilities of the two classes that cover most, the mask, and the mask after the CRF; below them a key
    to the colours.

    Args:
        run: a run of a segmentation network, or its folder.
        images: image files.
        out: folder to write.
        crf: sharpen masks by a CRF, see `refined`; those written are then sharpened.
        seeds: folder of seeds, drawn where it has some of the image, by name.
        progress: show a progress bar.

    Returns:
        The files written, the picture first.

    Raises:
        ValueError: if the run is of another network, a file is no image, seeds are of another size, or two images
            have one name.
    """
    from looksharp.drawing.labels import draw_rows

    run, out = run if isinstance(run, Run) else load_run(run), Path(out)
    check_weights(run.model)
    paths = [Path(path) for path in images]
    stems = [path.stem for path in paths]
    twice = next((stem for stem in stems if stems.count(stem) > 1), None)
    if twice is not None:
        raise ValueError(f"two images are called {twice}, and would have one mask; give them one after the other")
    for path in paths:  # a file that cannot be read ends it before the work, not after
        read_image(path)
    folder = None if seeds is None else read_seed_folder(seeds)
    rows: list[list[tuple[str, Pixels]]] = []
    written, shown = [], set[int]()
    for path in tqdm(paths, "masks", disable=not progress, leave=False):
        picture = read_image(path, value_range=run.pixels.value_range).as_subclass(Tensor)
        odds = _odds(run, picture)
        plain = odds.argmax(0)
        found = refined(odds, picture.to(odds.device)).argmax(0) if crf else plain
        target = out / "masks" / f"{path.stem}.png"
        write_class_image(target, found)
        written.append(target)
        seeded = _seeds_of(folder, path, (picture.shape[-2], picture.shape[-1]))
        if len(rows) == _DRAWN:
            continue
        rows.append(_row(run, path, picture, odds, [plain, found] if crf else [plain], seeded, folder is not None))
        for labels in (plain, found, seeded):
            shown.update(() if labels is None else torch.unique(labels).tolist())
    names = {1 + label: name for label, name in enumerate(run.classes)}
    draw_rows(rows, out / "masks.png", key={label: names[label] for label in shown & names.keys()})
    return [out / "masks.png", *written]


def _odds(run: Run, picture: Tensor) -> Tensor:
    """Return probabilities (1 + C, H, W) at an image's own size."""
    device = next(run.model.parameters()).device
    small = image_transform(run.pixels.whole())(picture).as_subclass(Tensor)
    odds = dense_odds(run.model, run.pixels.normalize(small)[None].to(device))[0]
    return odds_at_size(odds, (picture.shape[-2], picture.shape[-1]))


def _seeds_of(folder: SeedFolder | None, path: Path, size: tuple[int, int]) -> Tensor | None:
    """Return the seeds of an image of a size, found by its name; None if there are none."""
    if folder is None:
        return None
    files = [file for file in (folder.root / "masks").rglob(f"{escape(path.stem)}.png") if file.stem == path.stem]
    if not files:
        return None
    seeds = read_class_image(files[0], len(folder.classes))
    if seeds.shape != size:
        raise ValueError(
            f"{files[0]} has {seeds.shape[0]} x {seeds.shape[1]} px, but {path} has {size[0]} x {size[1]}: seeds are "
            f"found by an image's name"
        )
    return seeds


def _row(
    run: Run,
    path: Path,
    picture: Tensor,
    odds: Tensor,
    masks: Sequence[Tensor],
    seeds: Tensor | None,
    with_seeds: bool,
) -> list[tuple[str, Pixels]]:
    from looksharp.drawing.labels import label_overlay
    from looksharp.drawing.overlay import overlay
    from looksharp.drawing.overlay import picture as plain

    image = picture.float() / 255
    row = [(path.name, plain(image))]
    if with_seeds:  # a picture for every row, so that columns stand under each other
        row.append(("no seeds", plain(image)) if seeds is None else ("seeds", label_overlay(image, seeds)))
    for label in odds[1:].sum((1, 2)).topk(min(_MAPS, len(odds) - 1)).indices.tolist():
        row.append((f"probability of {run.classes[label]}", overlay(image, odds[1 + label], 1.0, signed=False)))
    for title, mask in zip(("mask", "mask after the CRF"), masks, strict=False):
        present = [run.classes[label - 1] for label in torch.unique(mask).tolist() if label]
        row.append((f"{title}: {', '.join(present) or 'background'}", label_overlay(image, mask)))
    return row
