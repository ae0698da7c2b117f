"""Pictures of pieces and objects under interventions, with what networks answer to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

    from looksharp.data.split import Data, Pixels, Split
    from looksharp.suspects.groups import Group
    from looksharp.training.folder import Run

__all__ = ["Tried", "answers_of", "as_read", "pasted", "piece_pictures", "shown_classes", "tried"]

_PIECES = 6  # pictures of a group


@dataclass(frozen=True)
class Tried:
    """A picture and the answer to it.

    Attributes:
        title: what it is.
        picture: a data: address.
        answer: class and probability.
    """

    title: str
    picture: str
    answer: str


def piece_pictures(data: Data, pixels: Pixels, group: Group) -> list[tuple[str, str]]:
    """Return some images of a group, spread over it, with their piece outlined: titles and data: addresses."""
    from looksharp.drawing.overlay import draw_outline

    split, shown = data.splits["train"], []
    count = len(group.regions)
    for place in sorted({round(step * (count - 1) / (_PIECES - 1)) for step in range(_PIECES)}):
        region = group.regions[place]
        drawn = _pixels(pixels, as_read(split, pixels, region.image))
        shown.append((f"{region.label}, image {split.name(region.image)}", _address(draw_outline(drawn, region.mask))))
    return shown


def pasted(run: Run, data: Data, group: Group, turn: int) -> list[Tried]:
    """Return an image of a group, one that does not show its class, and the piece of the first pasted onto the second.

    Args:
        run: the network.
        data: its images.
        group: the group.
        turn: draws the images; another one for another pair.

    Raises:
        ValueError: if all images show the class.
    """
    import torch

    from looksharp.interventions.surroundings import exchange_surroundings

    split, generator = data.splits["train"], torch.Generator().manual_seed(1_000_003 * group.number + turn)
    region = group.regions[int(torch.randint(len(group.regions), (1,), generator=generator))]
    label = run.classes.index(region.label)
    targets = split.targets
    without = (targets != label if targets.ndim == 1 else targets[:, label] <= 0.5).nonzero().flatten()
    if not len(without):
        raise ValueError(f"every image shows {region.label}: there is none to paste the piece onto")
    onto = int(without[torch.randint(len(without), (1,), generator=generator)])
    own, other = (as_read(split, run.pixels, place) for place in (region.image, onto))
    mask = region.mask.float()
    made = exchange_surroundings(own[None], mask[None], other[None])[0]
    titles = {
        f"the image, class {region.label}": (own, mask),
        f"an image of class {shown_classes(split, onto, run.classes)}": (other, None),
        "the piece pasted onto it": (made, None),
    }
    return tried(run, titles)


def tried(run: Run, pictures: Mapping[str, tuple[Tensor, Tensor | None]]) -> list[Tried]:
    """Return pictures (3, H, W), normalised, each with a mask to outline or None, and a network's answers to them."""
    import torch

    from looksharp.drawing.overlay import draw_outline

    answers = answers_of(run, torch.stack([picture for picture, _ in pictures.values()]))
    found = []
    for (title, (picture, mask)), answer in zip(pictures.items(), answers, strict=True):
        drawn = _pixels(run.pixels, picture)
        found.append(Tried(title, _address(drawn if mask is None else draw_outline(drawn, mask)), answer))
    return found


def answers_of(run: Run, images: Tensor) -> list[str]:
    """Return a network's answer to each image (B, 3, H, W), with its probability."""
    import torch

    from looksharp.attention.finite import check_logits
    from looksharp.attention.recording import logits_of

    with torch.no_grad():
        logits = logits_of(run.model(images.to(next(run.model.parameters()).device)))
    check_logits(logits)
    shares, labels = (logits.sigmoid() if run.multilabel else logits.softmax(1)).max(1)
    return [f"{run.classes[label]} {share:.0%}" for label, share in zip(labels.tolist(), shares.tolist(), strict=True)]


def as_read(split: Split, pixels: Pixels, index: int) -> Tensor:
    """Return one image (3, H, W) as a network reads it, normalised, on the CPU."""
    (batch,) = split.loader([[index]], pixels)
    found: Tensor = batch.image[0]
    return found


def shown_classes(split: Split, index: int, classes: tuple[str, ...]) -> str:
    """Return the names of the classes that an image shows."""
    target = split.targets[index]
    labels = [int(target)] if target.ndim == 0 else (target > 0.5).nonzero().flatten().tolist()
    return ", ".join(classes[label] for label in labels) or "no class"


def _pixels(pixels: Pixels, image: Tensor) -> npt.NDArray[np.uint8]:
    from looksharp.drawing.overlay import picture

    return picture(pixels.denormalize(image))


def _address(pixels: object) -> str:
    from looksharp.drawing.parts import data_uri
    from looksharp.studio.thumbnails import encoded

    return data_uri(encoded(pixels), "image/webp")
