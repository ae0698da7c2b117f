"""Make seeds of a data set's images: images of class indices, from where a classifier looks."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from pydantic_core import to_jsonable_python
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from looksharp.attention.finite import check_weights
from looksharp.data.build import DataConfig, build_data
from looksharp.data.seed_folder import SeedFolder, read_seed_folder
from looksharp.data.split import Data, Split
from looksharp.evaluation.fingerprint import file_fingerprint
from looksharp.files import locked, write_text
from looksharp.marks.class_images import UNKNOWN, write_class_image
from looksharp.marks.mask_images import load_pixels
from looksharp.segmentation.seed_rule import background_seeds, seed_labels
from looksharp.segmentation.seed_table import SeedTable, measure_seeds
from looksharp.segmentation.settings import SeedSettings
from looksharp.segmentation.whole_maps import WholeMaps
from looksharp.training.data import fitted_data, moved_data
from looksharp.training.folder import Run, load_run

__all__ = ["make_seeds", "true_classes"]

_PLACE = ("out", "run", "device", "workers", "batch_size", "data", "root")
"""Settings that are of a call, not of the seeds; the data's are noted apart."""


def make_seeds(settings: SeedSettings, *, data: Data | None = None, progress: bool = True) -> SeedTable:
    """Write an image of class indices for every image of a split: OUT/masks/NAME.png, with VOC's palette.

    0 is the background, 1 + c class c, and 255 unknown; see `seed_labels` and `background_seeds`. Each has its image's
    own size. OUT/seeds.json holds how they were made. Started again, images that have seeds are left.

    Args:
        settings: see `SeedSettings`.
        data: the data set, if already built.
        progress: show a progress bar.

    Returns:
        The share of pixels that are seeded, class by class, and where masks are known their precision and recall.

    Raises:
        ValueError: if the run or the data cannot be read, they have other classes, `out` holds seeds that were made in
            another way, or an image has no saliency map.
        OSError: if a file cannot be written.
    """
    run = load_run(settings.run, settings.checkpoint, settings.device)
    check_weights(run.model)
    config = moved_data(run.config.data, settings.data, settings.root)
    data = data or fitted_data(build_data(config, run.config.training.seed), run.classes)
    if settings.split not in data.splits:
        raise ValueError(f"split must be one of {', '.join(data.splits)}; got {settings.split!r}")
    split = data.splits[settings.split]
    _check_names(split)
    with locked(settings.out):
        folder = _folder(settings, config, data, run)
        missing = [place for place in range(len(split)) if not folder.file(split.name(place)).is_file()]
        _write(settings, run, split, folder, missing, progress)
        return measure_seeds(folder, split, progress=progress)


def true_classes(target: Tensor, classes: int) -> Tensor:
    """Return the classes (B, K) of images from class indices (B,) or multi-hot (B, C); -1 where there are fewer."""
    if target.ndim == 1:
        return target.unsqueeze(1)
    present = target > 0.5
    most = max(int(present.sum(1).max()), 1) if len(target) else 1
    order = present.float().argsort(dim=1, descending=True, stable=True)[:, :most]
    return torch.where(present.gather(1, order), order, -1)


def _check_names(split: Split) -> None:
    """Refuse images whose seeds would be one file."""
    known: dict[Path, str] = {}
    for name in split.names:
        other = known.setdefault(Path(name).with_suffix(""), name)
        if other != name:
            raise ValueError(f"{other} and {name} would have their seeds in one file; rename one of them")


def _folder(settings: SeedSettings, config: DataConfig, data: Data, run: Run) -> SeedFolder:
    """Return the folder of seeds, new or the one whose seeds were made in the same way.

    Raises:
        ValueError: if it holds other seeds.
    """
    made = {name: value for name, value in to_jsonable_python(settings).items() if name not in _PLACE}
    made["weights"] = file_fingerprint(run.folder / "checkpoints" / f"{settings.checkpoint}.ckpt")
    flat = to_jsonable_python(config)
    if flat["root"] is not None:
        flat["root"] = str(Path(flat["root"]).absolute())
    split = data.splits[settings.split]
    folder = SeedFolder(
        settings.out,
        flat,
        run.config.training.seed,
        settings.split,
        len(split),
        split.in_memory,
        data.classes,
        made,
    )
    if folder.path.is_file():
        known = read_seed_folder(settings.out)
        other = next((name for name in made if known.made.get(name) != made[name]), None)
        other = "data" if other is None and (known.data, known.classes) != (folder.data, folder.classes) else other
        if other is not None:
            raise ValueError(
                f"{settings.out} holds seeds that were made in another way ({other}); choose another --out"
            )
        return known
    write_text(folder.path, json.dumps(folder.facts(), indent=2) + "\n")
    return folder


def _write(
    settings: SeedSettings, run: Run, split: Split, folder: SeedFolder, missing: Sequence[int], progress: bool
) -> None:
    """Write the seeds of some images."""
    maps = WholeMaps(
        run.model,
        settings.mechanism,
        settings.layer,
        settings.scales,
        settings.mirror,
        saliency=settings.background == "gradient",
        saliency_scale=settings.background_scale,
    )
    batches = [list(missing[i : i + settings.batch_size]) for i in range(0, len(missing), settings.batch_size)]
    device = next(run.model.parameters()).device
    loader = split.loader(batches, run.pixels.whole(), device=device, workers=settings.workers) if batches else []
    salient = _saliency_reader(settings, split)
    with tqdm(total=len(missing), desc="seeds", unit=" images", disable=not progress, leave=False) as bar:
        for places, batch in zip(batches, loader, strict=True):
            classes = true_classes(batch.target, len(folder.classes))
            found, gradient = maps.of(batch.image, classes)
            for row, place in enumerate(places):
                known = classes[row] >= 0
                labels = _labels(
                    found[row][known],
                    classes[row][known].tolist(),
                    gradient[row] if gradient is not None else salient(place, found[row]),
                    split.size(place),
                    settings,
                )
                write_class_image(folder.file(split.name(place)), labels)
            bar.update(len(places))


def _labels(
    maps: Tensor, classes: Sequence[int], saliency: Tensor | None, size: tuple[int, int], settings: SeedSettings
) -> Tensor:
    """Return the seeds (H, W) of one image; all unknown if it is of no class."""
    if not classes:
        return torch.full(size, UNKNOWN, dtype=torch.uint8)
    background = None
    if saliency is not None:
        background = background_seeds(_resized(saliency[None], size)[0], settings.background_share)
    return seed_labels(_resized(maps, size), classes, background, threshold=settings.threshold)


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize maps (K, h, w) bilinearly."""
    if tuple(maps.shape[-2:]) == size:
        return maps
    return F.interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]


def _saliency_reader(settings: SeedSettings, split: Split) -> Callable[[int, Tensor], Tensor | None]:
    """Return the function from an image's place and maps (K, H, W) to its saliency (h, w), or None."""
    if settings.background == "none":
        return lambda place, maps: None
    if settings.background == "maps":
        return lambda place, maps: maps.amax(0)
    folder = Path(settings.background)

    def read(place: int, maps: Tensor) -> Tensor:
        name = Path(split.name(place))
        file = next((f for f in (folder / name.with_suffix(s) for s in (".png", ".jpg", ".jpeg")) if f.is_file()), None)
        if file is None:
            raise ValueError(f"background {folder} has no saliency map {name.with_suffix('.png')}, for {name}")
        pixels = torch.from_numpy(load_pixels(file)[1].copy()).float()
        pixels = pixels[..., :3].mean(-1) if pixels.ndim == 3 else pixels
        size = split.size(place)
        if tuple(pixels.shape) != size:
            raise ValueError(
                f"{file} has {pixels.shape[0]} x {pixels.shape[1]} px, but its image has {size[0]} x {size[1]}"
            )
        return pixels.to(maps.device)

    return read
