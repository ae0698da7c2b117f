"""Draw images with a row of maps for each method: largest changes, confused classes, layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from looksharp.attention.attend import attend
from looksharp.attention.maps import normalize_maps
from looksharp.attention.mechanisms import Mechanism, reads_layers
from looksharp.attention.recording import logits_of
from looksharp.attention.stages import last_stages
from looksharp.batch import Batch
from looksharp.comparison.results import Scene
from looksharp.data.split import Split
from looksharp.drawing.panel import Panel
from looksharp.training.folder import Run

__all__ = ["changed_scenes", "confused_scenes", "layer_scenes", "load_images", "most_changed", "spread"]

_TOP = 5  # classes, as in ICASC Fig. 10
_BATCH = 64
_SEARCHED = 256  # images of a class among which the most confused one is looked for

_Row = tuple[Panel, ...]


def most_changed(first: Tensor, other: Tensor, count: int) -> tuple[list[int], list[int]]:
    """Return the images whose value (N,) rose most from `first` to `other`, and those whose value fell most.

    Example:
        >>> most_changed(torch.tensor([0.1, 0.5, 0.9, 0.5]), torch.tensor([0.8, 0.6, 0.0, 0.5]), count=2)
        ([0, 1], [2])

    """
    change = (other - first).nan_to_num(0)
    order = change.argsort(descending=True, stable=True).tolist()
    return [i for i in order[:count] if change[i] > 0], [i for i in order[::-1][:count] if change[i] < 0]


def spread(size: int, count: int) -> list[int]:
    """Return places spread evenly over a split, each once.

    Example:
        >>> spread(7, 3), spread(2, 3)
        ([0, 3, 6], [0, 1])

    """
    return torch.linspace(0, size - 1, min(count, size)).long().tolist()


def load_images(split: Split, images: Sequence[int], run: Run) -> Batch:
    """Load images as the run's network reads them, on its device."""
    device = next(run.model.parameters()).device
    return next(iter(split.loader([list(images)], run.pixels, device=device)))


def changed_scenes(
    split: Split, images: Mapping[int, str], runs: Mapping[str, Run], mechanism: str | Mechanism = "grad_cam"
) -> list[Scene]:
    """Draw the five highest-scoring classes of each network, the true ones framed (ICASC Fig. 10).

    Where no true class is among the five, the best of them is shown as a sixth.

    Args:
        split: of the images.
        images: place in the split -> the beginning of its scene's name.
        runs: method -> run.
        mechanism: how maps are made.
    """
    if not images:
        return []
    rows: dict[str, list[_Row]] = {}
    means: list[list[float]] = []
    for name, run in runs.items():
        batch = load_images(split, list(images), run)
        scores = _scores(run, batch)
        true = batch.multi_hot(scores.shape[1])
        ranked = scores.argsort(1, descending=True)
        best = scores.masked_fill(~true, -torch.inf).argmax(1, keepdim=True)
        rank = (ranked == best).int().argmax(1) + 1
        classes = torch.cat([ranked[:, :_TOP], best], 1)
        maps, odds = _last_maps(run, batch, classes, mechanism), _odds(run, scores)
        rows[name] = [_top_row(run, classes[i], odds[i], true[i], maps[i], int(rank[i])) for i in range(len(batch))]
        means.append(((odds * true).sum(1) / true.sum(1)).tolist())
    titles = [
        f"{name}: {before:.0%} → {after:.0%}"
        for name, before, after in zip(_titles(run, batch, list(images)), means[0], means[-1], strict=True)
    ]
    return _scenes(run, batch, [f"{kind}-{image}" for image, kind in images.items()], titles, rows)


def _top_row(run: Run, classes: Tensor, odds: Tensor, true: Tensor, maps: Tensor, rank: int) -> _Row:
    """Return panels of the highest-scoring classes; the last of `classes` is shown only if it ranks below them."""
    panels = []
    for place, index in enumerate(classes.tolist()):
        caption = "" if not true[index] else f"true class, ranked {rank}" if place == _TOP else "true class"
        title = f"{run.classes[index]} {odds[index]:.0%}"
        panels.append(Panel(title, maps[place], emphasis=bool(true[index]), caption=caption))
    return tuple(panels if rank > _TOP else panels[:-1])


def confused_scenes(
    split: Split, pairs: Sequence[tuple[int, int]], runs: Mapping[str, Run], mechanism: str | Mechanism = "grad_cam"
) -> list[Scene]:
    """Draw, for pairs (true class, answer), the image where the first method is least sure: both maps, their overlap.

    The shared region is the minimum of both maps, raw: they are of one layer and one network, so of one unit.
    """
    first = next(iter(runs.values()))
    multi_hot = split.targets.ndim == 2
    scenes = []
    for true, taken in pairs:
        of_class = split.targets[:, true] > 0.5 if multi_hot else split.targets == true
        images = of_class.nonzero().flatten()[:_SEARCHED].tolist()
        if not images:
            continue
        batches = (load_images(split, images[i : i + _BATCH], first) for i in range(0, len(images), _BATCH))
        odds = torch.cat([_odds(first, _scores(first, batch))[:, [true, taken]] for batch in batches])
        # Of those it takes for the other class, else of all, the one it is most torn about.
        image = images[int((odds.amin(1) + (odds[:, 1] > odds[:, 0])).argmax())]
        rows: dict[str, list[_Row]] = {}
        for name, run in runs.items():
            batch = load_images(split, [image], run)
            classes = torch.tensor([[true, taken]], device=batch.image.device)
            maps = _last_maps(run, batch, classes, mechanism)[0]
            chances = _odds(run, _scores(run, batch))[0]
            rows[name] = [
                (
                    Panel(f"{run.classes[true]} {chances[true]:.0%}", maps[0], emphasis=True, caption="true class"),
                    Panel(f"{run.classes[taken]} {chances[taken]:.0%}", maps[1], caption="confused with it"),
                    Panel("shared", torch.minimum(maps[0], maps[1]), caption="the minimum of both maps"),
                )
            ]
        title = f"{run.classes[true]} taken for {run.classes[taken]}"
        scenes += _scenes(run, batch, [f"confused-{true}-{taken}"], [title], rows)
    return scenes


def layer_scenes(
    split: Split, images: Sequence[int], runs: Mapping[str, Run], mechanism: str | Mechanism = "grad_cam"
) -> list[Scene]:
    """Draw the true class's map at the inner and the last layer, each divided by its own maximum.

    Nothing where the mechanism reads no layers.
    """
    if not images or not reads_layers(mechanism):
        return []
    rows: dict[str, list[_Row]] = {}
    for name, run in runs.items():
        batch = load_images(split, images, run)
        scores = _scores(run, batch)
        true = scores.masked_fill(~batch.multi_hot(scores.shape[1]), -torch.inf).argmax(1)
        layers = last_stages(run.model, batch.image)
        maps = attend(run.model, batch.image, true, layers=layers, mechanism=mechanism).maps
        chances = _odds(run, scores).gather(1, true[:, None])[:, 0].tolist()
        kinds = ("inner layer", "last layer")
        rows[name] = [
            tuple(
                Panel(
                    f"{kind}", normalize_maps(maps[layer][i, 0]).cpu(), caption=f"{layer}, true class {chances[i]:.0%}"
                )
                for kind, layer in zip(kinds, layers, strict=True)
            )
            for i in range(len(batch))
        ]
    return _scenes(run, batch, [f"layers-{image}" for image in images], _titles(run, batch, images), rows)


def _scenes(
    run: Run, batch: Batch, stems: Sequence[str], titles: Sequence[str], rows: Mapping[str, list[_Row]]
) -> list[Scene]:
    pictures = run.pixels.denormalize(batch.image).cpu()
    return [
        Scene(stem, title, pictures[i], _outline(batch, i), {name: row[i] for name, row in rows.items()})
        for i, (stem, title) in enumerate(zip(stems, titles, strict=True))
    ]


@torch.no_grad()
def _scores(run: Run, batch: Batch) -> Tensor:
    return logits_of(run.model(batch.image)).float()


def _odds(run: Run, scores: Tensor) -> Tensor:
    return scores.sigmoid() if run.multilabel else scores.softmax(1)


def _last_maps(run: Run, batch: Batch, classes: Tensor, mechanism: str | Mechanism) -> Tensor:
    """Return the last layer's maps (B, K, h, w) on the CPU."""
    (maps,) = attend(run.model, batch.image, classes, mechanism=mechanism).maps.values()
    return maps.cpu()


def _titles(run: Run, batch: Batch, images: Sequence[int]) -> list[str]:
    """Name each image by its true classes and its place in the split."""
    names = [
        " and ".join(run.classes[index] for index in row.nonzero().flatten().tolist())
        for row in batch.multi_hot(len(run.classes))
    ]
    return [f"{name} (image {image})" for name, image in zip(names, images, strict=True)]


def _outline(batch: Batch, image: int) -> Tensor | None:
    """Return the union of an image's masks; None if it has none."""
    if batch.marks is None:
        return None
    masks = batch.marks.mask[batch.marks.sample == image]
    return (masks.amax(0) > 0.5).cpu() if len(masks) else None
