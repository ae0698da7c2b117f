"""The pictures of every intervention, for one image."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from looksharp.data.split import Pixels, Split
from looksharp.interventions.intervene import Interventions
from looksharp.interventions.objects import ObjectReader

__all__ = ["Example", "example_pictures"]


@dataclass(frozen=True, eq=False)
class Example:
    """An image under every intervention.

    Attributes:
        image: its place in the split.
        label: its object's class.
        surroundings: the class whose surroundings the object gets across classes.
        mask: the object, (H, W) in [0, 1].
        pictures: measure -> (3, H, W), as the network reads it: "original", "exchanged_within", "exchanged_across",
            "object_only" and "surroundings_only".
    """

    image: int
    label: int
    surroundings: int
    mask: Tensor = field(repr=False)
    pictures: dict[str, Tensor] = field(repr=False)


def example_pictures(split: Split, pixels: Pixels, found: Interventions, image: int) -> Example:
    """Return one image as `intervene` showed it to the network: its first object, and the first of its exchanges.

    `Pixels.denormalize` turns the pictures into colours.

    Args:
        split: the images that were intervened on.
        pixels: the way from their pixels to a network's input.
        found: the result of `intervene`.
        image: one of `found.images`.

    Raises:
        ValueError: if the image is not one of `found.images`.
    """
    objects, partners = found.objects, found.partners
    rows = ((objects.samples == image) & (partners >= 0).flatten(1).all(1)).nonzero().flatten()
    if not len(rows):
        raise ValueError(f"image must be one that was intervened on, of Interventions.images; got {image}")
    shown = rows.new_tensor([int(rows[0]), *partners[rows[0], :, 0].tolist()])  # itself, within, across
    images, masks = next(ObjectReader(split, pixels, division=found.division).read(objects, [shown]))
    own, mask = images[:1], masks[:1]
    within, across = found.division.exchange(own.expand(2, -1, -1, -1), mask.expand(2, -1, -1), images[1:], masks[1:])
    _, label, surroundings = objects.labels[shown].tolist()
    pictures = {
        "original": own[0],
        "exchanged_within": within,
        "exchanged_across": across,
        "object_only": found.division.kept(own, mask)[0],
        "surroundings_only": found.division.rest(own, mask)[0],
    }
    return Example(image, label, surroundings, mask[0], pictures)
