"""The suite "ten_crop": classification by the mean of ten views."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch.nn import functional as F
from torchvision.transforms import v2

from looksharp.attention.finite import check_logits
from looksharp.attention.recording import logits_of
from looksharp.data.transform import LARGER
from looksharp.evaluation.result import Evaluation
from looksharp.evaluation.subject import Columns, Subject
from looksharp.evaluation.suite import SUITES, Separate
from looksharp.evaluation.suites.classification import new_ranking
from looksharp.metrics.catalogue import METRICS, Metric

__all__ = ["ten_crop"]

_VIEWS = 10


@torch.no_grad()
def ten_crop(subject: Subject, advance: Callable[[float], object]) -> Evaluation:
    """Classify by the mean probability of ten views: four corners and the middle, each also mirrored.

    Krizhevsky et al. 2012, "ImageNet Classification with Deep Convolutional Neural Networks", Sec. 4.1. Views are cut
    from images 8/7 the size that the network takes (256 for 224); smaller images in memory are enlarged bilinearly.

    Values: "top1_ten_crop" and "top5_ten_crop", for every image too; "map_ten_crop" for multi-label images.

    Args:
        subject: the subject to measure.
        advance: called with the number of forwards done.
    """
    split, (height, width) = subject.split, subject.pixels.size
    size = round(height * LARGER), round(width * LARGER)
    columns, ranking = Columns(), None
    larger = None if split.in_memory else replace(subject.pixels, size=size, crop_share=1.0, resize_size=None)
    for batch in subject.batches(larger):
        images = F.interpolate(batch.image, size, mode="bilinear") if split.in_memory else batch.image
        logits = [logits_of(subject.model(view)).float() for view in v2.functional.ten_crop(images, [height, width])]
        for each in logits:
            check_logits(each)
        odds = torch.stack([each.sigmoid() if batch.multilabel else each.softmax(1) for each in logits]).mean(0).cpu()
        if batch.multilabel:
            ranking = ranking or new_ranking(len(split), odds.shape[1])
            ranking.update(odds.double().logit().float(), batch.target.cpu())
        else:
            right = odds.topk(min(5, odds.shape[1])).indices == batch.target.cpu().unsqueeze(1)
            columns.add({"top1_ten_crop": right[:, 0], "top5_ten_crop": right.any(1)})
        advance(_VIEWS * len(batch))
    per_image = columns.joined()
    values = {name: float(column.double().mean()) for name, column in per_image.items()}
    if ranking is not None:
        values["map_ten_crop"] = float(ranking.compute().average_precision.nanmean())
    return Evaluation({name: value for name, value in values.items() if not math.isnan(value)}, per_image)


SUITES.add("ten_crop", Separate("10 forwards", ten_crop, _VIEWS, place=5))
METRICS.add(
    "top1_ten_crop", Metric("Accuracy, ten views", "higher", "How many images get the right class.", percent=True)
)
METRICS.add(
    "top5_ten_crop",
    Metric(
        "Top-5 accuracy, ten views",
        "higher",
        "How many images have the right class among the five best guesses.",
        percent=True,
    ),
)
METRICS.add(
    "map_ten_crop",
    Metric(
        "Mean average precision, ten views",
        "higher",
        "How well the images of each class are ranked before others.",
        percent=True,
    ),
)
