"""Images in tar files of samples: some found by their place, others read as a stream from end to end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import IO, Self

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from looksharp.data.sampling import Shuffled
from looksharp.data.split import Augment, BatchLoader, Pixels, Split
from looksharp.data.splits.files import DecodedSplit, Item, image_batches
from looksharp.data.splits.shards import Sample, read_shard, stored_samples
from looksharp.data.transform import image_transform
from looksharp.images.depth import ValueRange
from looksharp.images.reading import read_image
from looksharp.processes.place import processes, rank

__all__ = ["StoredSplit", "StreamSplit", "stored_split"]

_BUFFER = 1024  # samples of which the next one is drawn


@dataclass(kw_only=True)
class StoredSplit(DecodedSplit):
    """A split whose images lie in shards, each found by its place."""

    samples: Sequence[Sample] = field(repr=False)

    def checked(self, classes: int) -> Self:
        """Check the labels against the number of classes, and return the split.

        Raises:
            ValueError: if a sample is of another class.
        """
        for sample in self.samples:
            _check_label(sample, classes)
        return self

    def name(self, index: int) -> str:
        """Return the sample's shard and name."""
        return self.samples[index].where

    def encoded(self, index: int) -> tuple[str, IO[bytes]]:
        """Return the sample's image."""
        return self.samples[index].where, self.samples[index].open()


@dataclass(kw_only=True)
class StreamSplit(Split):
    """A split that is only read from end to end, for training.

    Images cannot be chosen, so marks, balance and measuring this split are refused. `targets` has one entry per image;
    they are -1 if only sizes.json gives the number.

    Attributes:
        shards: paths or URLs.
        counts: images of each shard.
        classes: number of classes.
    """

    shards: Sequence[str] = field(repr=False)
    counts: Sequence[int] = field(repr=False)
    classes: int

    def divided(self, share: float, seed: int) -> tuple[Split, Split]:
        """Hold out the last shards; return the rest, and the held-out images, each found by its place.

        Args:
            share: share of the shards to hold out, at least one.
            seed: not used.

        Raises:
            ValueError: if no shard would be left, or a shard cannot be read.
        """
        held = max(round(share * len(self.shards)), 1) if share else 0
        if not 0 < held < len(self.shards):
            raise ValueError(
                f"val_shards must name shards to validate on: val_share {share:g} holds out {held} of "
                f"{len(self.shards)} from {self.shards[0]}"
            )
        shards, counts = self.shards[:-held], self.counts[:-held]
        kept = replace(self, targets=self.targets[: sum(counts)], shards=shards, counts=counts)
        return kept, stored_split(self.shards[-held:]).checked(self.classes)

    def image(self, index: int) -> tv_tensors.Image:
        """Refuse: a stream's images have no places.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"images of shards such as {self.shards[0]} are read in their order alone; got place {index}")

    def taken(self, places: Sequence[int]) -> Self:
        """Refuse: a stream's images have no places.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"images of a {type(self).__name__} cannot be picked; give images in memory or in files")

    def relabelled(self, table: Tensor, count: int) -> Self:
        """Refuse: classes are numbered in the shards.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"classes of shards such as {self.shards[0]} are numbers, which class_map cannot change")

    def content(self) -> Iterator[bytes]:
        """Yield the shards' names."""
        yield from (shard.encode(errors="surrogateescape") for shard in self.shards)

    def loader(
        self,
        batches: Iterable[list[int]],
        pixels: Pixels,
        *,
        augment: Augment = "none",
        seed: int = 0,
        device: torch.device | str = "cpu",
        workers: int = 0,
    ) -> BatchLoader:
        """Return as many batches as `batches` has, of its size; their images are drawn here.

        An epoch goes through the shards in an order drawn by its number, and draws each next image from a buffer of
        1,024, so every image comes once; the incomplete last batch is dropped. Under `torch.distributed` each process
        reads its share of the shards; a process whose shards hold fewer images than others' starts them again.

        Raises:
            ValueError: if `batches` choose images, or there are fewer shards than processes.
        """
        if not isinstance(batches, Shuffled) or batches.strata is not None or batches.marked_per_batch:
            raise ValueError(
                "a stream of shards is read in its own order, for training alone: balance must be none, and neither "
                "marks nor measuring can choose its images"
            )
        if len(self.shards) < processes():
            raise ValueError(f"there must be a shard for each of {processes()} processes; got {len(self.shards)}")
        images = _Decoded(image_transform(pixels, augment), self.classes, pixels.value_range)
        return image_batches(images, _Drawn(self.shards, batches, seed), pixels, device, workers)


class _Drawn:
    """Batches of (sample, seed of its augmentation), read in the process that trains."""

    def __init__(self, shards: Sequence[str], batches: Shuffled, seed: int) -> None:
        self.shards, self.batches, self.seed = shards, batches, seed

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[tuple[Sample, int]]]:
        epoch, size = self.batches.epoch, self.batches.batch_size
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        order = torch.randperm(len(self.shards), generator=generator).tolist()
        own = [self.shards[place] for place in order[rank() :: processes()]]
        samples = self._samples(own, generator)
        for _ in range(len(self)):
            chosen = list(islice(samples, size))
            yield list(zip(chosen, torch.randint(2**62, (size,), generator=generator).tolist(), strict=True))
        self.batches.set_epoch(epoch + 1)

    def _samples(self, shards: Sequence[str], generator: torch.Generator) -> Iterator[Sample]:
        found = True
        while found:
            found = False
            for sample in _mixed((sample for shard in shards for sample in read_shard(shard)), generator):
                found = True
                yield sample
        raise ValueError(f"shards {shards[0]} to {shards[-1]} hold no sample, unlike what sizes.json says")


def _mixed(samples: Iterable[Sample], generator: torch.Generator) -> Iterator[Sample]:
    """Yield each sample once, drawn from those that the buffer holds."""
    buffer: list[Sample] = []
    for sample in samples:
        if len(buffer) < _BUFFER:
            buffer.append(sample)
            continue
        place = int(torch.randint(_BUFFER, (), generator=generator))
        yield buffer[place]
        buffer[place] = sample
    for place in torch.randperm(len(buffer), generator=generator).tolist():
        yield buffer[place]


class _Decoded(Dataset[Item]):
    def __init__(self, transform: v2.Transform, classes: int, value_range: ValueRange | None) -> None:
        self.transform, self.classes, self.value_range = transform, classes, value_range

    def __getitem__(self, key: tuple[Sample, int]) -> Item:
        sample, seed = key
        _check_label(sample, self.classes)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            image = self.transform(read_image(sample.where, sample.open(), self.value_range))
        return image.as_subclass(Tensor), torch.tensor(sample.label), [], None


def stored_split(shards: Sequence[str]) -> StoredSplit:
    """Return the images of shards as a split.

    Args:
        shards: paths or URLs. Files stay where they are; what a URL holds is kept in memory, encoded.

    Raises:
        ValueError: if a shard is damaged, a sample is malformed, or there is none.
    """
    samples = [sample for shard in shards for sample in stored_samples(shard)]
    if not samples:
        raise ValueError(f"shards {shards[0]} to {shards[-1]} hold no sample")
    return StoredSplit(targets=torch.tensor([sample.label for sample in samples]), samples=samples)


def _check_label(sample: Sample, classes: int) -> None:
    if sample.label >= classes:
        raise ValueError(f"{sample.where} is of class {sample.label}, but there are {classes} classes")
