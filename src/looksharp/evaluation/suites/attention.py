"""The suite "attention": where a network looks for the true class and for the class it confuses with it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from looksharp.evaluation.object_metrics import ObjectMetrics
from looksharp.evaluation.result import Evaluation, merge
from looksharp.evaluation.subject import Columns, Measure, Objects, Seen, Subject, class_sizes, means_by
from looksharp.evaluation.suite import SUITES, Shared
from looksharp.evaluation.suites.classification import pair_rows
from looksharp.evaluation.tables import Tables
from looksharp.metrics.agreement import rank_agreement, region_agreement
from looksharp.metrics.catalogue import METRICS, Metric
from looksharp.metrics.grouped import GroupedMean
from looksharp.metrics.localisation import attention_inside, map_iou, pointing_game
from looksharp.metrics.pixel_average_precision import PixelAveragePrecision
from looksharp.metrics.separability import ConfusedPairs, separability

__all__ = ["Attention"]

_OF_CLASSES = ("overlap_last", "overlap_inner", "consistency", "rank_agreement", "region_agreement")
_OF_OBJECTS = {"attention_inside": attention_inside, "pointing_game": pointing_game, "map_iou": map_iou}


class Attention(Measure):
    """Attention of a split, at an inner layer and at the last.

    Values, means over images and their true classes: "overlap_last", "overlap_inner" and "consistency", see
    `separability`; "rank_agreement" and "region_agreement" of the two layers. Over objects whose masks are known:
    "attention_inside", "pointing_game" and "map_iou"; "no_attention", the share of objects whose map is zero
    everywhere and which these leave out; "pixel_ap", see `PixelAveragePrecision`.

    Every image has its means of all values except the last two. Tables: "per_class" and "by_size", see `ObjectMetrics`;
    "confused_pairs", see `pair_rows`, with the overlap at the last layer.

    Args:
        subject: the subject to measure.
        count: number of classes.
    """

    def __init__(self, subject: Subject, count: int) -> None:
        self.names, self.images = subject.class_names(count), class_sizes(subject.split.targets, count)
        self.columns, self.pairs = Columns(), ConfusedPairs()
        self.means = {name: GroupedMean() for name in _OF_CLASSES}
        metrics = dict.fromkeys((*_OF_OBJECTS, "no_attention"), GroupedMean) | {"pixel_ap": PixelAveragePrecision}
        self.objects = ObjectMetrics(count, metrics, subject.metric_device)

    def update(self, seen: Seen) -> None:
        """Measure a batch."""
        (inner, last), (classes, valid) = seen.maps, seen.confused
        image, place = valid.nonzero(as_tuple=True)
        true = inner[image, place], last[image, place]  # (P, h, w) each
        values = {name: found[valid] for name, found in separability(inner, last).items()}
        values |= {"rank_agreement": rank_agreement(*true), "region_agreement": region_agreement(*true)}
        for name, mean in self.means.items():
            mean.update(values[name].cpu())
        classes, wrong = classes[image, place], classes[image, -1]
        taken = seen.logits[image, wrong] > seen.logits[image, classes]
        self.pairs.update(classes[taken].cpu(), wrong[taken].cpu(), values["overlap_last"][taken].cpu())
        self.columns.add({name: means_by(found, image, len(valid)) for name, found in values.items()})
        self.columns.add(self._on_objects(seen.objects, len(valid)))

    def _on_objects(self, objects: Objects | None, images: int) -> dict[str, Tensor]:
        """Measure objects; the means of each image's, (images,)."""
        if objects is None:
            return dict.fromkeys(_OF_OBJECTS, torch.full((images,), torch.nan))
        values = {name: function(objects.maps, objects.masks) for name, function in _OF_OBJECTS.items()}
        inputs: dict[str, tuple[Tensor, ...]] = {name: (found,) for name, found in values.items()}
        inputs |= {"no_attention": (values["attention_inside"].isnan(),), "pixel_ap": (objects.maps, objects.masks)}
        self.objects.update(objects, inputs)
        return {name: means_by(found, objects.image, images) for name, found in values.items()}

    def compute(self) -> Evaluation:
        """Compute the result over all batches so far."""
        values = {name: float(mean.compute().overall) for name, mean in self.means.items()}
        values = {name: value for name, value in values.items() if not math.isnan(value)}
        tables: Tables = {"classes": self.names, "confused_pairs": pair_rows(self.pairs, self.names, self.images)}
        return merge([Evaluation(values, self.columns.joined(), tables), self.objects.compute()])


SUITES.add("attention", Shared("1 forward, and for the maps about half of one more", Attention, 0.5, place=2))
METRICS.add(
    "attention_inside",
    Metric(
        "Attention on the object",
        "higher",
        "How much of the attention lies inside the object's outline.",
        percent=True,
        place=11,
        topic="attention",
    ),
)
_OVERLAP_LAST = METRICS.add(
    "overlap_last",
    Metric(
        "Overlap of true and most confused class",
        "lower",
        "How much the network looks at the same place for the right class as for the wrong class it likes best. "
        "0 is apart, 1 is the same.",
        place=12,
        topic="attention",
    ),
)
_OVERLAP_INNER = METRICS.add(
    "overlap_inner",
    Metric(
        "Overlap at the earlier layer",
        "lower",
        "The same overlap, measured one stage before the last.",
        place=13,
        topic="attention",
    ),
)
# Names of both in older histories and in losses.
METRICS.add("separation_last", _OVERLAP_LAST)
METRICS.add("separation_inner", _OVERLAP_INNER)
METRICS.add(
    "pointing_game",
    Metric(
        "Pointing game",
        "higher",
        "How often the strongest attention lies on the object.",
        percent=True,
        place=16,
        topic="attention",
    ),
)
METRICS.add(
    "map_iou",
    Metric(
        "Region on the object",
        "higher",
        "How far the attended region and the object coincide.",
        percent=True,
        place=17,
        topic="attention",
    ),
)
METRICS.add(
    "pixel_ap",
    Metric(
        "Pixel average precision",
        "higher",
        "How well attention ranks the object's pixels before others.",
        percent=True,
        place=18,
        topic="attention",
    ),
)
METRICS.add(
    "no_attention",
    Metric(
        "No attention at all",
        "lower",
        "How many objects get a map that is empty everywhere.",
        percent=True,
        place=19,
        topic="attention",
    ),
)
METRICS.add(
    "consistency",
    Metric(
        "Agreement between layers",
        "higher",
        "How much of an earlier layer's attention lies where the last layer looks.",
        place=20,
        topic="attention",
    ),
)
METRICS.add(
    "rank_agreement",
    Metric(
        "Rank agreement of layers",
        "higher",
        "Whether both layers rank positions alike: 1 in the same order, 0 without relation.",
        place=21,
        topic="attention",
    ),
)
METRICS.add(
    "region_agreement",
    Metric(
        "Shared region of layers",
        "higher",
        "How far the strongest regions of both layers coincide.",
        percent=True,
        place=22,
        topic="attention",
    ),
)
