"""Find the region of every image of a group, and test the groups by intervention."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from looksharp.data.split import Data, Pixels, Split
from looksharp.evaluation.fingerprint import code_fingerprint, model_fingerprint
from looksharp.processes.gathering import agreed, pooled
from looksharp.processes.place import is_first, own_places, processes
from looksharp.suspects.choosing import Suspects, reader_of
from looksharp.suspects.groups import Group, Groups, Region, images_fingerprint
from looksharp.suspects.kept import KeptRegions, key_of
from looksharp.suspects.regions import find_regions
from looksharp.suspects.trials import Example, effect, try_group
from looksharp.training.folder import Run

__all__ = ["Found", "find_groups"]

_IMAGES = 256  # of a file of regions, the most that are looked at again after a kill


@dataclass(frozen=True, eq=False)
class Found:
    """Groups that were tested, and examples of the tests.

    Attributes:
        groups: the groups, the one whose piece decides most first.
        examples: number of a group -> some of its images under the interventions.
    """

    groups: Groups
    examples: dict[int, list[Example]] = field(repr=False)


def find_groups(
    model: nn.Module | Run | str | Path,
    data: Data,
    found: Suspects,
    *,
    tested: int = 32,
    keep: str | Path | None = None,
    batch_size: int = 64,
    workers: int = 0,
    seed: int = 0,
    progress: bool = True,
) -> Found:
    """Find regions in all images of the clusters of `suspects`, and test each cluster as a group.

    Images go through one batch at a time, and only packed regions are kept. Of several processes (`torch.distributed`)
    each finds the regions of its share of the images, and all return the same. Costs about 12 forwards an image (see
    `find_regions`) and 7 for each image tested (see `try_group`). With `keep`, a search that was killed goes on with
    the images that are left.

    Args:
        model: the classifier that `suspects` read.
        data: its training split is read.
        found: the result of `suspects`.
        tested: images of each group to test.
        keep: folder for the regions, a file for every few hundred images; they are read from there where network,
            images, their classes and the code are the same, and removed where they are not.
        batch_size: images of one forward; changes nothing but speed and memory.
        workers: processes that read image files.
        seed: seed of the tests' draws.
        progress: show progress bars.

    Raises:
        ValueError: if `tested` is below 1.

    Example:
        >>> from looksharp.data.sets.synthetic import biased_digits
        >>> from looksharp.networks import SmallNet
        >>> from looksharp.suspects import suspects
        >>> data, model = biased_digits(train=20, val=1, test=1), SmallNet(10, width=8).eval()
        >>> found = find_groups(model, data, suspects(model, data, n=4, progress=False), tested=4, progress=False)
        >>> sorted(group.number for group in found.groups)
        [1, 2, 3, 4]

    """
    if tested < 1:
        raise ValueError(f"tested must be at least 1 image of each group; got {tested}")
    network, pixels = reader_of(model, data)
    split = data.splits["train"]
    weights, shown = model_fingerprint(network), images_fingerprint(split, pixels)
    files = KeptRegions(
        None if keep is None else Path(keep), key_of(found, weights, shown, code_fingerprint("attention", "suspects"))
    )
    search = _Search(network, split, pixels, found, batch_size, workers)
    regions: dict[int, list[Region]] = defaultdict(list)
    bar = tqdm(total=len(found.index), desc="finding regions", disable=not progress or not is_first(), leave=False)
    with bar:
        for row, runs in search.regions(files, bar.update):
            image, label, number = (int(each[row]) for each in (found.index, found.label, found.cluster))
            regions[number].append(Region(image, data.classes[label], pixels.size, runs))
    groups, examples = [], {}
    for number in tqdm(found.sizes, "testing groups", disable=not progress or not is_first(), leave=False):
        options = {"images": tested, "batch_size": batch_size, "workers": workers, "seed": seed}
        group, examples[number] = try_group(
            network, split, pixels, data.classes, Group(number, tuple(regions[number])), **options
        )
        groups.append(group)
    groups.sort(key=lambda group: effect(group.tests), reverse=True)
    return Found(Groups(None, weights, shown, "train", pixels.size, data.classes, tuple(groups)), examples)


@dataclass(frozen=True, eq=False)
class _Search:
    """The images in which regions are to be found, and the way to read them."""

    network: nn.Module
    split: Split
    pixels: Pixels
    found: Suspects
    batch_size: int
    workers: int

    def regions(self, files: KeptRegions, advance: Callable[[int], object]) -> list[tuple[int, Sequence[int]]]:
        """Return rows of `found`, rising, and the run lengths of each one's region: those kept, and those found now."""
        looked_at, known = agreed(files.read() if is_first() else ([], {}))
        images = self.found.index.unique()
        left = images[~torch.isin(images, torch.tensor(looked_at, dtype=torch.long))]
        advance(int((~torch.isin(self.found.index, left)).sum()))
        shared = own_places(len(left))
        new: list[tuple[int, Sequence[int]]] = []
        for places, part in self._parts(left[shared.start : shared.stop], advance):
            files.write(places, part)
            new += part.items()
        return sorted([*known.items(), *pooled(new)])

    def _parts(
        self, images: Tensor, advance: Callable[[int], object]
    ) -> Iterator[tuple[list[int], dict[int, Sequence[int]]]]:
        """Yield places of some images, and row -> run lengths of the regions in them."""
        places: list[int] = []
        regions: dict[int, Sequence[int]] = {}
        for batch, rows, masks in self._masks([part.tolist() for part in images.split(self.batch_size) if len(part)]):
            places += batch
            for row, mask in zip(rows, masks, strict=True):
                if mask.any():
                    regions[row] = Region.of(int(self.found.index[row]), "", mask).runs
            advance(processes() * len(rows))
            if len(places) >= _IMAGES:
                yield places, regions
                places, regions = [], {}
        if places:
            yield places, regions

    def _masks(self, batches: list[list[int]]) -> Iterator[tuple[list[int], list[int], Tensor]]:
        """Yield places of images, rows of `found` about them, and the region (H, W) of each, batch after batch."""
        device = next((p.device for p in self.network.parameters()), torch.device("cpu"))
        loader = self.split.loader(batches, self.pixels, device=device, workers=self.workers)
        for places, batch in zip(batches, loader, strict=True):
            rows = torch.isin(self.found.index, torch.tensor(places)).nonzero().flatten()
            sample = torch.searchsorted(torch.tensor(places), self.found.index[rows]).to(device)
            masks = find_regions(self.network, batch.image[sample], self.found.label[rows].to(device))
            yield places, rows.tolist(), masks.cpu()
