"""The suite "segmentation": compare predicted masks with those of an image's objects."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from looksharp.attention.attend import attend
from looksharp.attention.finite import check_finite, check_logits
from looksharp.attention.maps import normalize_maps, resize_maps
from looksharp.attention.mechanisms import reads_layers
from looksharp.batch import Batch
from looksharp.evaluation.dense import dense_odds, odds_at_size, refined, scores_layer
from looksharp.evaluation.result import Evaluation
from looksharp.evaluation.subject import Subject, listed
from looksharp.evaluation.suite import SUITES, Separate
from looksharp.evaluation.tables import ByColumn, Tables
from looksharp.evaluation.true_labels import true_labels
from looksharp.metrics.catalogue import METRICS, Metric
from looksharp.metrics.segmentation import MeanIoU, pixel_confusion, segmentation_scores
from looksharp.processes.gathering import gathered, summed, without_shares
from looksharp.processes.place import own_places

__all__ = ["measure_segmentation"]

_BACKGROUND = 0.2  # share of a class map's maximum below which a classifier's positions are background
_ALIKE = 1e-5  # maps in [0, 1] that differ by less are alike, and the first class wins


def measure_segmentation(subject: Subject, advance: Callable[[float], object]) -> Evaluation:
    """Measure the mean intersection over union of predicted and true masks, at each image's own size.

    A segmentation network predicts the most probable of background and classes, once as it is ("miou") and once through
    the CRF of `refined` ("miou_crf") if the subject asks for it. Any other network predicts, of its image's true
    classes, the one whose map, divided by its maximum, is highest, and the background where none is above 20%: SEC's
    rule for seeds.

    Values: "miou" and "miou_crf", over all classes and the background; "background_iou" and "background_iou_crf". In
    the table "per_class", "iou" and "iou_crf". Of each image "miou" and "miou_crf", over the classes that are there or
    predicted. Images without masks do not count, nor do pixels that a class image says are unknown.

    Args:
        subject: the subject to measure.
        advance: called with the number of forwards done.
    """
    segments = scores_layer(subject.model) is not None
    sharpened = segments and subject.crf
    names = ("miou", "miou_crf") if sharpened else ("miou",)
    scores: dict[str, MeanIoU] = {}
    columns = {name: torch.full((len(subject.split),), torch.nan) for name in names}
    own = own_places(len(subject.split))
    place, seen = own.start, 0
    for batch in subject.batches(subject.pixels.whole()):
        odds = dense_odds(subject.model, batch.image) if segments else _attended(subject, batch)
        scores = scores or {name: MeanIoU(odds.shape[1]) for name in names}
        for row in range(len(batch)):
            truth = true_labels(subject.split, place)
            if truth is not None:
                seen += 1
                for name, found in zip(names, _predicted(subject, place, odds[row], sharpened), strict=True):
                    scores[name].update(found, truth)
                    one = pixel_confusion(found, truth, odds.shape[1])
                    columns[name][place] = float(segmentation_scores(one).mean)
            place += 1
        advance(len(batch))
    if not summed(torch.tensor(seen)):
        return Evaluation()
    with without_shares():
        return _results(scores, {name: gathered(column[own.start : own.stop]) for name, column in columns.items()})


def _predicted(subject: Subject, place: int, odds: Tensor, sharpened: bool) -> list[Tensor]:
    """Return class indices (H, W) of an image, and those through a CRF if asked."""
    large = odds_at_size(odds, subject.split.size(place))
    found = [large.argmax(0).cpu()]
    if sharpened:
        image = subject.split.image(place).as_subclass(Tensor).to(odds.device)
        found.append(refined(large, image).argmax(0).cpu())
    return found


def _attended(subject: Subject, batch: Batch) -> Tensor:
    """Return values (B, 1 + C, h, w) of background and classes, from the maps of an image's true classes."""
    layers = None if subject.layers is None or not reads_layers(subject.mechanism) else [subject.layers[1]]
    if batch.multilabel:
        present = batch.target > 0.5
        valid, classes = present.float().topk(max(int(present.sum(1).max()), 1), dim=1)
    else:
        classes = batch.target.unsqueeze(1)
        valid = torch.ones_like(classes)
    found = attend(subject.model, batch.image, classes, layers=layers, mechanism=subject.mechanism)
    check_logits(found.logits)
    (maps,) = found.maps.values()
    check_finite(maps, "the class maps")
    maps = normalize_maps(resize_maps(maps, (batch.image.shape[-2], batch.image.shape[-1])))
    # Two maps that peak in one corner are equal beyond its cell's centre: rounding would tell which of them wins.
    maps = (maps / _ALIKE).round() * _ALIKE
    values = maps.new_zeros(len(batch), 1 + found.logits.shape[1], *maps.shape[-2:])
    values[:, 0] = _BACKGROUND
    places = (1 + classes)[..., None, None].expand_as(maps)
    return values.scatter_(1, places, maps * valid[..., None, None])


def _results(scores: dict[str, MeanIoU], columns: dict[str, Tensor]) -> Evaluation:
    values: dict[str, float] = {}
    per_class: ByColumn = {}
    for name, score in scores.items():
        found, suffix = score.compute(), name.removeprefix("miou")
        values |= {name: float(found.mean), f"background_iou{suffix}": float(found.iou[0])}
        per_class[f"iou{suffix}"] = listed(found.iou[1:])
    values = {name: value for name, value in values.items() if value == value}
    tables: Tables = {"per_class": per_class} if per_class else {}
    return Evaluation(values, columns, tables)


SUITES.add(
    "segmentation",
    Separate(
        "1 forward and the maps; of a segmentation network 1 forward and a CRF, seconds of a CPU for a photograph "
        "(--no_crf does without)",
        measure_segmentation,
        1.0,
        reads_maps=True,
        sharpens=True,
        needs="masks of objects",
        place=8,
    ),
)
METRICS.add(
    "miou",
    Metric(
        "Mean intersection over union",
        "higher",
        "How well predicted masks fit the objects', averaged over classes and background.",
        percent=True,
    ),
)
METRICS.add(
    "miou_crf",
    Metric(
        "The same with a CRF", "higher", "Predicted masks are first sharpened along the image's edges.", percent=True
    ),
)
METRICS.add(
    "background_iou",
    Metric("Intersection over union of the background", "higher", "How well the background is told.", percent=True),
)
METRICS.add(
    "background_iou_crf",
    Metric("The same of the background with a CRF", "higher", "The background after sharpening.", percent=True),
)
