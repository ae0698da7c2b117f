"""Maps of one image for some classes, as pictures to lay over it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from looksharp.data.split import Split
    from looksharp.drawing.panel import Panel
    from looksharp.training.folder import Run

__all__ = ["ClassMap", "ImageMaps", "MapsAsked", "image_maps", "layer_names", "mechanism_names"]

_SIDE = 320  # px of a picture, at least


@dataclass(frozen=True)
class MapsAsked:
    """A choice of maps, as `looksharp explain` takes it.

    Attributes:
        classes: "top5" or another number, or names separated by commas; those that the image shows are added.
        mechanism: its name; that of `explain` if "".
        layer: the layer's name; the last one if "".
        signed: evidence against a class too.
    """

    classes: str = "top5"
    mechanism: str = ""
    layer: str = ""
    signed: bool = False


@dataclass(frozen=True)
class ClassMap:
    """A map to show.

    Attributes:
        title: its class and probability, or what the network calls it.
        picture: the map as colours with their opacity, a data: address.
        true: the image shows the class.
        remark: why there is nothing to see; "" otherwise.
    """

    title: str
    picture: str
    true: bool
    remark: str


@dataclass(frozen=True)
class ImageMaps:
    """The maps of an image, all on one scale.

    Attributes:
        answer: the likeliest class.
        confidence: its probability.
        layer: what the maps were read from.
        picture: the image as the network reads it, a data: address.
        maps: one for each class.
    """

    answer: str
    confidence: float
    layer: str
    picture: str
    maps: tuple[ClassMap, ...]


def image_maps(run: Run, split: Split, index: int, asked: MapsAsked) -> ImageMaps:
    """Return the maps of one image.

    Raises:
        ValueError: if a class, layer or mechanism does not exist, or does not go with the others; see `explain`.
    """
    import torch

    from looksharp.attention.recording import logits_of
    from looksharp.drawing.overlay import common_scale
    from looksharp.drawing.panel import Panel
    from looksharp.explaining.batches import batch_rows
    from looksharp.explaining.explain import Asked, chosen_mechanism, parse_classes

    options = Asked((asked.layer,) if asked.layer else None, asked.signed)
    options.check(asked.mechanism or None)
    mechanism = chosen_mechanism(run, asked.mechanism or None, options)
    image = _read(run, split, index)
    with torch.no_grad():
        logits = logits_of(run.model(image))[0]
    odds = logits.sigmoid() if run.multilabel else logits.softmax(0)
    chosen, true = parse_classes(asked.classes, run.classes), _shown(split.targets[index])
    classes = logits.topk(chosen).indices.tolist() if isinstance(chosen, int) else chosen
    rows = batch_rows(run, image, [*classes, *(label for label in true if label not in classes)], mechanism, options)
    panels = [
        Panel(
            _title(run, row.layer, int(label), float(share), int(head)), attention, int(head) < 0 and int(label) in true
        )
        for row in rows
        for label, share, head, attention in zip(row.label, row.probability, row.head, row.maps, strict=True)
    ]
    size = _size(run.pixels.size)
    scale = common_scale(panels)
    answer = int(odds.argmax())
    return ImageMaps(
        run.classes[answer],
        float(odds[answer]),
        ", ".join(row.layer for row in rows),
        _picture(run, image),
        tuple(_drawn(panel, size, *scale) for panel in panels),
    )


def layer_names(run: Run) -> list[str]:
    """Return the names of all modules of the run's network, the last first."""
    return [name for name, _ in run.model.named_modules() if name][::-1]


def mechanism_names(run: Run) -> dict[str, str]:
    """Return mechanisms by name, "" for the default, with a line about each."""
    from looksharp.attention.mechanisms import mechanism_summaries
    from looksharp.networks.built_in import has_built_in_attention

    own = {"built_in": "the network's own attention"} if has_built_in_attention(run.model) else {}
    return {"": "as explain chooses"} | own | dict(sorted(mechanism_summaries().items()))


def _read(run: Run, split: Split, index: int) -> Tensor:
    """Return an image (1, 3, H, W) as the network reads it."""
    device = next(run.model.parameters()).device
    (batch,) = split.loader([[index]], run.pixels, device=device)
    return batch.image


def _shown(target: Tensor) -> list[int]:
    return [int(target)] if target.ndim == 0 else (target > 0.5).nonzero().flatten().tolist()


def _title(run: Run, layer: str, label: int, probability: float, head: int) -> str:
    return f"{layer} map {head + 1}" if head >= 0 else f"{run.classes[label]} {probability:.0%}"


def _size(size: tuple[int, int]) -> tuple[int, int]:
    times = max(_SIDE // max(size), 1)
    return size[0] * times, size[1] * times


def _picture(run: Run, image: Tensor) -> str:
    from looksharp.drawing.overlay import picture
    from looksharp.drawing.parts import data_uri
    from looksharp.studio.thumbnails import encoded

    return data_uri(encoded(picture(run.pixels.denormalize(image[0]).cpu())), "image/webp")


def _drawn(panel: Panel, size: tuple[int, int], peak: float, signed: bool) -> ClassMap:
    from looksharp.drawing.overlay import layer
    from looksharp.drawing.parts import data_uri
    from looksharp.studio.thumbnails import encoded

    drawn = (
        b"" if panel.remark or panel.attention is None else encoded(layer(panel.attention, size, peak, signed=signed))
    )
    return ClassMap(panel.title, data_uri(drawn, "image/webp") if drawn else "", panel.emphasis, panel.remark)
