"""Maps of many images, in files of a fixed number of images each."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from looksharp.attention.finite import check_weights
from looksharp.data.split import BatchLoader, Pixels, Split
from looksharp.data.splits.files import DecodedSplit, Item, image_batches
from looksharp.data.transform import image_transform
from looksharp.evaluation.fingerprint import model_fingerprint, split_fingerprint
from looksharp.explaining.batches import batch_rows
from looksharp.explaining.explain import Asked, chosen_mechanism, parse_classes
from looksharp.explaining.settings import ManySettings
from looksharp.explaining.shard import ShardWriter, left_out, new_shard
from looksharp.explaining.sheets import draw_sheets
from looksharp.files import locked, read_text, write_text
from looksharp.processes.gathering import agreed, summed
from looksharp.processes.place import is_first, processes, rank
from looksharp.training.folder import Run, load_run

__all__ = ["Explained", "explain_many"]

_RECORD = "explained.json"
_OF_PACE = ("batch_size", "workers", "pictures")  # settings that change no map


@dataclass(frozen=True)
class Explained:
    """Result of `explain_many`.

    Attributes:
        shards: the Parquet files, in the order of their images.
        pictures: the sheets drawn.
        images: number of images whose maps were made now, by all processes; fewer than all after a kill.
        seconds: time that took.
        left_out: names of images that could not be read.
    """

    shards: tuple[Path, ...]
    pictures: tuple[Path, ...]
    images: int
    seconds: float
    left_out: tuple[str, ...]


def explain_many(
    run: Run | str | Path,
    split: Split,
    out: str | Path,
    settings: ManySettings | None = None,
    *,
    progress: bool = True,
) -> Explained:
    """Write the maps of any number of images to Parquet files, a row per image and class; see `shard` for the columns.

    Each file holds `shard_size` images and is there once it is whole. Called again after a kill, with the same run,
    images and settings, it goes on with the files that are missing. Memory does not depend on the number of images,
    except for their names. Images that cannot be read are left out and counted. Of several processes
    (`torch.distributed`) each writes every so many files.

    Args:
        run: the trained run, or its folder.
        split: the images; their targets are not read.
        out: folder to write.
        settings: see `ManySettings`.
        progress: show a progress bar.

    Raises:
        ValueError: if `out` holds maps of other images, weights or settings, another process is writing it, pyarrow is
            not installed, or as `explain`.
    """
    settings, out = settings or ManySettings(), Path(out)
    run = run if isinstance(run, Run) else load_run(run)
    check_weights(run.model)
    asked = Asked(settings.layer, settings.signed, settings.smooth, settings.fuse)
    asked.check(settings.mechanism)
    work = _Work(run, split, out, settings, chosen_mechanism(run, settings.mechanism, asked), asked)
    with locked(out) if is_first() else nullcontext():
        if is_first():
            work.check_folder()
        agreed(None)  # the others wait until the folder is known to be right
        started = time.perf_counter()
        images = int(summed(torch.tensor(work.write(progress and is_first()))))
        seconds = time.perf_counter() - started
        pictures = draw_sheets(split, run.pixels, out, settings.pictures) if settings.pictures and is_first() else []
    shards = tuple(work.file(shard) for shard in range(work.shards))
    missing = tuple(name for shard in shards for name in left_out(shard))
    return Explained(shards, tuple(pictures), images, seconds, missing)


@dataclass(frozen=True)
class _Work:
    """The arguments of `explain_many`, and the mechanism that they lead to."""

    run: Run
    split: Split
    out: Path
    settings: ManySettings
    mechanism: str
    asked: Asked

    @property
    def shards(self) -> int:
        return math.ceil(len(self.split) / self.settings.shard_size)

    def file(self, shard: int) -> Path:
        return self.out / f"maps-{shard:06d}.parquet"

    def places(self, shard: int) -> range:
        start = shard * self.settings.shard_size
        return range(start, min(start + self.settings.shard_size, len(self.split)))

    def check_folder(self) -> None:
        """Write what the folder's maps are of, or refuse a folder of others."""
        settings = {name: value for name, value in asdict(self.settings).items() if name not in _OF_PACE}
        layers = None if self.settings.layer is None else list(self.settings.layer)
        facts = settings | {
            "layer": layers,
            "mechanism": self.mechanism,
            "images": split_fingerprint(self.split, self.run.pixels),
            "weights": model_fingerprint(self.run.model),
        }
        record = self.out / _RECORD
        if not record.is_file():
            write_text(record, json.dumps(facts, indent=1) + "\n")
            return
        try:
            known = dict(json.loads(read_text(record)))
        except (ValueError, TypeError):
            raise ValueError(f"{record} is damaged; remove {self.out}, or choose another --out") from None
        for name, now in facts.items():
            if known.get(name) != now:
                other = f"other {name}" if name in ("images", "weights") else f"{name} {known.get(name)}, not {now}"
                raise ValueError(f"{self.out} holds maps of {other}; choose another --out")

    def write(self, progress: bool) -> int:
        """Write this process's shards that are missing, and return the number of their images."""
        missing = [shard for shard in range(self.shards) if not self.file(shard).is_file()]
        own = missing[rank() :: processes()]
        batches = _Batches([self.places(shard) for shard in own], self.settings.batch_size)
        loaded = iter(self._loader(batches))
        with tqdm(total=batches.images, desc="explaining", unit=" images", disable=not progress, leave=False) as bar:
            for shard in own:
                places = self.places(shard)
                with new_shard(self.file(shard), self.run.classes) as writer:
                    for start in places[:: self.settings.batch_size]:
                        images, found = next(loaded)
                        self._write_batch(writer, images, torch.arange(start, start + len(found)), found)
                        bar.update(len(found))
        return batches.images

    def _write_batch(self, writer: ShardWriter, images: Tensor, places: Tensor, found: Tensor) -> None:
        """Write the maps of a batch, of which only some images may be `found`, (B,) boolean."""
        names = [self.split.name(place) for place in places.tolist()]
        writer.left_out += [name for name, there in zip(names, found.tolist(), strict=True) if not there]
        if not found.any():
            return
        kept, images = places[found], images if found.all() else images[found.to(images.device)]
        names = [name for name, there in zip(names, found.tolist(), strict=True) if there]
        chosen = parse_classes(self.settings.classes, self.run.classes)
        for rows in batch_rows(self.run, images, chosen, self.mechanism, self.asked):
            writer.add(rows, kept, names)

    def _loader(self, batches: _Batches) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images (B, 3, H, W) of batches, and which of them could be read, (B,) boolean on the CPU."""
        pixels, device = self.run.pixels, next(self.run.model.parameters()).device
        if isinstance(self.split, DecodedSplit):
            read: Dataset[Item] = _Readable(self.split, pixels)
            for batch in image_batches(read, batches, pixels, device, self.settings.workers):
                yield batch.image, batch.target.cpu()
            return
        loader: BatchLoader = self.split.loader(batches, pixels, device=device, workers=self.settings.workers)
        for batch in loader:
            yield batch.image, torch.ones(len(batch), dtype=torch.bool)


class _Batches:
    """Batches of the places in ranges, none of two ranges."""

    def __init__(self, ranges: Sequence[range], batch_size: int) -> None:
        self.ranges, self.batch_size = ranges, batch_size
        self.images = sum(map(len, ranges))

    def __len__(self) -> int:
        return sum(math.ceil(len(places) / self.batch_size) for places in self.ranges)

    def __iter__(self) -> Iterator[list[int]]:
        for places in self.ranges:
            for start in range(0, len(places), self.batch_size):
                yield list(places[start : start + self.batch_size])


class _Readable(Dataset[Item]):
    """Images of a split, each with whether it could be read in the place of its target."""

    def __init__(self, split: DecodedSplit, pixels: Pixels) -> None:
        self.split, self.size, self.transform = split, pixels.size, image_transform(pixels)

    def __getitem__(self, index: int) -> Item:
        try:
            image, read = self.transform(self.split.image(index)).as_subclass(Tensor), True
        except (ValueError, OSError):
            image, read = torch.zeros(3, *self.size, dtype=torch.uint8), False
        return image, torch.tensor(read), [], None
