"""Interventions on any image: its object in other surroundings, without any, and gone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from looksharp.studio.pieces import answers_of, as_read, shown_classes

if TYPE_CHECKING:
    from torch import Tensor

    from looksharp.data.split import Data, Split
    from looksharp.training.folder import Run

__all__ = ["MASKS", "Intervened", "another", "intervened", "with_marks"]

MASKS = {
    "mark": "the mark, else the evidence",
    "evidence": "the evidence",
}
"""Kinds of masks that an object is cut out by."""
_MOVES = 1  # place of the picture in which the object can be moved


@dataclass(frozen=True)
class Intervened:
    """A picture under an intervention, with each network's answer.

    Attributes:
        title: what was done.
        picture: a data: address.
        answers: name of a network -> class and probability.
        piece: the object as it lies in it, all else transparent, a data: address; "" where it cannot be moved.
    """

    title: str
    picture: str
    answers: Mapping[str, str]
    piece: str = ""


def intervened(
    runs: Mapping[str, Run], split: Split, image: int, onto: int, masks: str, shift: tuple[int, int] = (0, 0)
) -> list[Intervened]:
    """Return an image under every intervention, and what each network answers.

    Args:
        runs: networks by name; the first one's evidence is what `evidence` cuts out.
        split: the images.
        image: the one whose object is moved.
        onto: the one that lends its surroundings.
        masks: one of `MASKS`.
        shift: pixels by which the object is moved down and to the right in its new surroundings.

    Raises:
        ValueError: if the image has neither mark nor evidence for its class, or the networks read images in other ways.
    """
    import torch

    from looksharp.interventions.surroundings import exchange_surroundings, object_only, surroundings_only

    first, *others = runs.values()
    if any(run.pixels != first.pixels for run in others):
        raise ValueError("the networks read images of other sizes or normalisation, and cannot answer the same picture")
    own, other = (as_read(split, first.pixels, place) for place in (image, onto))
    mask, by = _mask(first, split, image, masks)
    if mask is None:
        raise ValueError(
            f"nothing can be cut out of image {split.name(image)}: it has no evidence for a class; mark it"
        )
    gone, _ = _mask(first, split, onto, masks)
    moved, cut = torch.roll(own, shift, (-2, -1)), _moved(mask, shift)
    pictures = {
        f"The image, class {shown_classes(split, image, first.classes)}; outlined: {by}": own,
        f"In the surroundings of {split.name(onto)}, class {shown_classes(split, onto, first.classes)}": (
            exchange_surroundings(moved[None], cut[None], other[None], None if gone is None else gone[None])[0]
        ),
        "Alone": object_only(own[None], mask[None])[0],
        "Its surroundings alone": surroundings_only(own[None], mask[None])[0],
    }
    images = torch.stack(list(pictures.values()))
    answers = {name: answers_of(run, images) for name, run in runs.items()}
    piece = _cut_out(first, moved, cut)
    return [
        Intervened(
            title,
            _address(first, picture, mask if place == 0 else None),
            _of(answers, place),
            piece if place == _MOVES else "",
        )
        for place, (title, picture) in enumerate(pictures.items())
    ]


def another(targets: Tensor, place: int) -> int:
    """Return the next image that shows other classes than one does; the next one at all if none does.

    Args:
        targets: (N,) class indices, or (N, classes) multi-hot.
        place: the image's place.

    Example:
        >>> import torch
        >>> another(torch.tensor([0, 1, 0, 0]), 2), another(torch.tensor([0, 0]), 1)
        (1, 0)

    """
    unlike = targets != targets[place]
    found = (unlike if targets.ndim == 1 else unlike.any(1)).nonzero().flatten()
    if not len(found):
        return (place + 1) % len(targets)
    after = found[found > place]
    return int(after[0] if len(after) else found[0])


def with_marks(data: Data, marks: str, seed: int) -> Data:
    """Return the images with the marks of a file on the training images, beside those of the data set on others.

    Args:
        data: the images.
        marks: the file.
        seed: of the run.
    """
    from looksharp.data.marked import choose_marked
    from looksharp.training.settings import MarksConfig

    return choose_marked(data, MarksConfig(marks=marks), seed)


def _mask(run: Run, split: Split, image: int, masks: str) -> tuple[Tensor | None, str]:
    """Return the mask (H, W) of an image as the network reads it, None if there is none; and what it is."""
    import torch

    from looksharp.suspects.regions import find_regions

    (batch,) = split.loader([[image]], run.pixels)
    labels = [int(batch.target[0])] if not batch.multilabel else (batch.target[0] > 0.5).nonzero().flatten().tolist()
    if masks == "mark" and batch.marks is not None:
        own = batch.marks.mask[torch.isin(batch.marks.label, torch.tensor(labels))]
        if len(own):
            return own.amax(0).float(), "its mark"
    if not labels:
        return None, ""
    device = next(run.model.parameters()).device
    found = find_regions(run.model, batch.image.to(device), torch.tensor(labels[:1], device=device))[0].cpu().float()
    return found if found.any() else None, "the evidence"


def _moved(mask: Tensor, shift: tuple[int, int]) -> Tensor:
    """Move a mask (H, W) down and to the right; what leaves the image is gone."""
    from torch.nn import functional as F

    down, right = shift
    (height, width), room = mask.shape, (max(map(abs, shift)),) * 4
    return F.pad(mask, room)[room[0] - down :, room[0] - right :][:height, :width]


def _address(run: Run, image: Tensor, mask: Tensor | None) -> str:
    from looksharp.drawing.overlay import draw_outline, picture
    from looksharp.drawing.parts import data_uri
    from looksharp.studio.thumbnails import encoded

    drawn = picture(run.pixels.denormalize(image))
    return data_uri(encoded(drawn if mask is None else draw_outline(drawn, mask)), "image/webp")


def _cut_out(run: Run, image: Tensor, mask: Tensor) -> str:
    """Return an image (3, H, W) with all but a mask (H, W) transparent, as a data: address."""
    import numpy as np

    from looksharp.drawing.overlay import picture
    from looksharp.drawing.parts import data_uri
    from looksharp.studio.thumbnails import encoded

    colours = picture(run.pixels.denormalize(image))
    times = colours.shape[0] // mask.shape[0]  # small images are enlarged
    opaque = (mask * 255).round().byte().numpy().repeat(times, 0).repeat(times, 1)
    return data_uri(encoded(np.concatenate([colours, opaque[..., None]], 2)), "image/webp")


def _of(answers: Mapping[str, list[str]], place: int) -> dict[str, str]:
    return {name: each[place] for name, each in answers.items()}
