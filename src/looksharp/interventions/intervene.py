"""Accuracy under interventions on the surroundings: the object in others, alone, and gone."""

from __future__ import annotations

from collections.abc import Iterable, Sized
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from tqdm import tqdm

from looksharp.attention.finite import check_logits
from looksharp.attention.recording import logits_of
from looksharp.data.split import Pixels, Split
from looksharp.interventions.division import INTERVENTIONS, OBJECTS, Division
from looksharp.interventions.intervals import paired_interval, wilson_interval
from looksharp.interventions.objects import (
    ObjectReader,
    Objects,
    draw_partners,
    exchangeable,
    masked_objects,
    usable,
)
from looksharp.processes.gathering import gathered
from looksharp.processes.place import own_places

__all__ = ["INTERVENTIONS", "Interventions", "answered", "intervene"]

_T = TypeVar("_T")


@dataclass(frozen=True, eq=False)
class Interventions:
    """Answers of a classifier under interventions; see `intervene`.

    Attributes:
        values: measure -> mean over images; in [0, 1], the gap in [-1, 1].
        intervals: measure -> its 95% interval (lowest, highest).
        chance: measure -> its value for a guess; 0 for the gap.
        images: (N,) places of the images used.
        outcomes: measure -> (N,) each image's value, in float64: 0 or 1, or a mean over its exchanges and objects.
        left_out: reason -> number of images not used.
        objects: the objects that could be exchanged.
        partners: (G, 2, k) the objects in whose surroundings each was shown; see `draw_partners`.
        division: how images were divided.
    """

    values: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    chance: dict[str, float]
    images: Tensor = field(repr=False)
    outcomes: dict[str, Tensor] = field(repr=False)
    left_out: dict[str, int]
    objects: Objects = field(repr=False)
    partners: Tensor = field(repr=False)
    division: Division = field(default=OBJECTS, repr=False)


def intervene(
    model: nn.Module,
    split: Split,
    pixels: Pixels,
    *,
    batch_size: int = 64,
    workers: int = 0,
    pairs_per_image: int = 1,
    seed: int = 0,
    progress: str | None = None,
    chance: float | None = None,
    division: Division = OBJECTS,
) -> Interventions:
    """Exchange or remove the surroundings of a split's masked objects, and measure how `model` then classifies.

    "original": accuracy on the masked images as they are. "exchanged_within" and "exchanged_across": with the object in
    the surroundings of another image of the same class, and of another class. "background_gap": the first less the
    second. "object_only" and "surroundings_only": with all else replaced by the mean colour, and with the object
    removed. "follows_surroundings": share of the objects exchanged across classes that are taken for the class of their
    new surroundings.

    The gap is after the BG-Gap of Xiao et al. 2021, "Noise or Signal: The Role of Image Backgrounds in Object
    Recognition", Mixed-Same less Mixed-Rand. Theirs draws Mixed-Rand's surroundings from all classes alike, the
    object's own included; here they come from images of other classes only, which widens the gap, by about an eighth
    for their nine classes. Theirs tiles the surroundings over the partner's bounding box; here the object's mask is
    filled smoothly and its outline may show. Both accuracies here are of the same objects.

    In an image of one class, the object is the union of that class's masks. In a multi-label image, each (image, class)
    pair is an object, the union of that class's masks; other objects belong to the surroundings. It is answered
    correctly if its class has a probability above one half. It is exchanged across with images that do not show the
    class, and an image's value is the mean over its objects. All values are means over the same images. Masks that are
    empty or leave no surroundings are left out, as are objects without a partner within or across; `left_out` counts
    them.

    Of several processes (`torch.distributed`) each answers for its share of the objects, and all return the same.

    Intervals are Wilson's over images, and for the gap a paired bootstrap over images (see `paired_interval`).

    Args:
        model: the classifier, in the mode to measure it in; its first parameter's device is used.
        split: images, some or all of them with masks or boxes.
        pixels: the way from their pixels to a network's input.
        batch_size: images read, and images a forward; changes nothing but speed and memory.
        workers: processes that read image files.
        pairs_per_image: number of exchanges of an object within its class, and across.
        seed: draws the partners and the bootstrap; they depend on nothing else.
        progress: title of a progress bar; none if not given.
        chance: accuracy of a guess. If not given, the share of the commonest class among the objects; for multi-label
            images the frequency of each object's class among all images, averaged over objects.
        division: `OBJECTS`; or `PIECES`, where masks are of what should not count. All else is then the object above,
            and the pieces are its surroundings.

    Raises:
        ValueError: if there are no masks, masks of one class only, no two of any class, or a count is below 1.
    """
    for name, value in {"batch_size": batch_size, "pairs_per_image": pairs_per_image}.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1; got {value}")
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    reader = ObjectReader(split, pixels, device, workers, division)
    candidates = masked_objects(split)
    right = _alone(model, reader, candidates, batch_size, progress)
    kept = right.pop("usable").bool()
    objects = candidates[kept]
    partners = draw_partners(objects, split.targets, pairs_per_image, seed)
    rows = exchangeable(objects, partners)
    right = {name: values[kept][rows] for name, values in right.items()}
    right |= _exchanged(model, reader, objects, rows, partners[rows], batch_size, progress)
    right["background_gap"] = right["exchanged_within"] - right["exchanged_across"]

    images, place = objects.samples[rows].unique(return_inverse=True)
    outcomes = {name: _means(right[name], place) for name in INTERVENTIONS}
    levels = dict.fromkeys(INTERVENTIONS, _guess(split.targets, objects.labels[rows]))
    levels["follows_surroundings"] = _guess(split.targets, objects.labels[partners[rows, 1].flatten()])
    if chance is not None:
        levels = dict.fromkeys(INTERVENTIONS, chance)
    return Interventions(
        values={name: float(values.mean()) for name, values in outcomes.items()},
        intervals={
            name: paired_interval(values, seed) if name == "background_gap" else wilson_interval(values)
            for name, values in outcomes.items()
        },
        chance=levels | {"background_gap": 0.0},
        images=images,
        outcomes=outcomes,
        left_out=_left_out(len(split), candidates, objects, objects[rows]),
        objects=objects,
        partners=partners,
        division=division,
    )


def answered(logits: Tensor, labels: Tensor, several: bool) -> Tensor:
    """Test whether images are answered with their labels: (N,) boolean.

    Args:
        logits: (N, C).
        labels: (N,).
        several: the answer is every class with a probability above one half, and not the highest class alone.

    Raises:
        ValueError: if logits are not finite.
    """
    check_logits(logits)
    labels = labels.to(logits.device)
    return logits.gather(1, labels.unsqueeze(1)).squeeze(1) > 0 if several else logits.argmax(1) == labels


@torch.no_grad()
def _alone(
    model: nn.Module, reader: ObjectReader, objects: Objects, batch_size: int, progress: str | None
) -> dict[str, Tensor]:
    """Measure what needs no partner, and whether objects are "usable": name -> (G,) in {0, 1}."""
    several, found = reader.split.targets.ndim == 2, [torch.zeros(4, 0, dtype=torch.float64)]
    batches = torch.arange(len(objects))[_own(len(objects))].split(batch_size)
    for (images, masks), rows in zip(_bar(reader.read(objects, batches), batches, progress), batches, strict=True):
        shown = (images, reader.division.kept(images, masks), reader.division.rest(images, masks))
        right = [answered(logits_of(model(each)), objects.labels[rows], several) for each in shown]
        found.append(torch.stack([*right, usable(masks)]).double().cpu())
    answers = gathered(torch.cat(found, 1).T).T
    return dict(zip(("original", "object_only", "surroundings_only", "usable"), answers, strict=True))


@torch.no_grad()
def _exchanged(
    model: nn.Module,
    reader: ObjectReader,
    objects: Objects,
    rows: Tensor,
    partners: Tensor,
    batch_size: int,
    progress: str | None,
) -> dict[str, Tensor]:
    """Measure what objects (N,) are taken for in the surroundings of partners (N, 2, k): measure -> (N,) in [0, 1]."""
    several, found = reader.split.targets.ndim == 2, [torch.zeros(2, 0, dtype=torch.float64)]
    pairs = (rows.repeat_interleave(partners[0].numel()), partners.flatten())
    shares = (each[_own(len(each))].split(batch_size) for each in pairs)
    batches = list(zip(*shares, strict=True))
    for images, both in zip(_bar(reader.read_exchanged(objects, batches), batches, progress), batches, strict=True):
        logits = logits_of(model(images))
        found.append(torch.stack([answered(logits, objects.labels[each], several) for each in both]).double().cpu())
    right, followed = gathered(torch.cat(found, 1).T).T.reshape(2, *partners.shape).mean(-1)  # (N, 2) each
    return {
        "exchanged_within": right[:, 0],
        "exchanged_across": right[:, 1],
        "follows_surroundings": followed[:, 1],
    }


def _own(count: int) -> slice:
    """Return this process's share of `count` rows; the others of `torch.distributed` have theirs."""
    own = own_places(count)
    return slice(own.start, own.stop)


def _bar(batches: Iterable[_T], known: Sized, title: str | None) -> Iterable[_T]:
    return tqdm(batches, title, total=len(known), disable=title is None, leave=False)


def _means(values: Tensor, place: Tensor) -> Tensor:
    """Average each image's objects."""
    counts = place.bincount()
    return values.new_zeros(len(counts)).index_add_(0, place, values) / counts


def _guess(targets: Tensor, labels: Tensor) -> float:
    """Return what guessing gets: always the commonest class or, of several, each as often as it occurs."""
    if targets.ndim == 2:
        return float((targets > 0.5).double().mean(0)[labels].mean())
    return float(labels.bincount().max()) / len(labels)


def _left_out(images: int, *stages: Objects) -> dict[str, int]:
    counts = [images, *(len(stage.samples.unique()) for stage in stages)]
    reasons = ("no mask of its class", "mask is empty or leaves no surroundings", "no image to exchange with")
    return {reason: more - less for reason, (more, less) in zip(reasons, pairwise(counts), strict=True)}
