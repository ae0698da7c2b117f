"""The suite "classification": how well a network classifies, and how confident it is."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from looksharp.batch import Batch
from looksharp.evaluation.result import Evaluation
from looksharp.evaluation.subject import Columns, Measure, Seen, Subject, class_sizes, listed, means_by
from looksharp.evaluation.suite import SUITES, Shared
from looksharp.evaluation.tables import ByColumn, ConfusedPair, Tables
from looksharp.metrics.average_precision import ClassRanking
from looksharp.metrics.catalogue import METRICS, Metric
from looksharp.metrics.classification import CalibrationError, log_odds
from looksharp.metrics.margin import SeparationChart
from looksharp.metrics.separability import ConfusedPairs
from looksharp.objectives.classification import classification_loss
from looksharp.processes.gathering import summed

__all__ = ["Classification", "new_ranking", "pair_rows"]

_EXACT = 1 << 26  # scores, in 256 MiB, up to which rankings are exact: 67,000 images of 1,000 classes
_BINS = 2048
_LISTED = 50


class Classification(Measure):
    """Classification of a split.

    Values: "top1", "top5" and, where groups are known, "worst_group", the lowest top-1 of a group
    (single-label); "attribute_accuracy", the accuracy of presence or absence, averaged over classes, where known
    (multi-label; ABN Table 4); "map" and "roc_auc", means over the classes that have positives, each
    against all others; "loss"; "calibration_error"; "ks_margin" and "ks_at", see `separation_chart`. Average precision
    and ROC AUC are exact up to 2^26 scores (images x classes) and taken from bins of 1/64 of log-odds above, so that
    memory is bounded.

    Every image has "top1", "top5", "loss", "confidence" (probability of the predicted class), "true_probability"
    (the mean over its true classes) and "confused_probability" (of its most confusing class).

    Tables: "classes"; "per_class" and "by_group", columns of one entry each; "calibration", of one entry a bin;
    "separation_chart"; "confused_pairs", see `pair_rows`, of true classes that a wrong class outscores.

    Args:
        subject: the subject to measure.
        count: number of classes.
    """

    def __init__(self, subject: Subject, count: int) -> None:
        self.split, self.names = subject.split, subject.class_names(count)
        self.multilabel = self.split.targets.ndim == 2
        self.columns = Columns()
        self.ranking = new_ranking(len(self.split), count)
        self.told_right, self.known = torch.zeros(count, dtype=torch.long), torch.zeros(count, dtype=torch.long)
        self.calibration, self.chart, self.pairs = CalibrationError(), SeparationChart(), ConfusedPairs()

    def update(self, seen: Seen) -> None:
        """Measure a batch, on the CPU."""
        logits, target = seen.forward.logits.detach().float().cpu(), seen.forward.batch.target.cpu()
        classes, valid = (part.cpu() for part in seen.confused)
        odds = logits.sigmoid() if self.multilabel else logits.softmax(1)
        self.ranking.update(log_odds(logits, self.multilabel), target)
        columns = self._several(logits, odds, target) if self.multilabel else self._one(logits, odds, target)
        image, place = valid.nonzero(as_tuple=True)
        true, wrong = classes[image, place], classes[image, -1]
        columns["confused_probability"] = means_by(odds[image, wrong], image, len(logits))
        self.columns.add(columns)
        self.chart.update(odds[image, true], odds[image, wrong])
        taken = logits[image, wrong] > logits[image, true]
        self.pairs.update(true[taken], wrong[taken])

    def _one(self, logits: Tensor, odds: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return the columns for images of one class each."""
        ranked = logits.topk(min(5, logits.shape[1])).indices
        right = ranked == target.unsqueeze(1)
        confidence = odds.amax(1)
        self.calibration.update(confidence, right[:, 0])
        return {
            "top1": right[:, 0],
            "top5": right.any(1),
            "loss": F.cross_entropy(logits, target, reduction="none"),
            "confidence": confidence,
            "true_probability": odds.gather(1, target.unsqueeze(1)).squeeze(1),
        }

    def _several(self, logits: Tensor, odds: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return the columns for multi-label images."""
        present, known = target > 0.5, target >= 0
        self.calibration.update(odds[known], present[known])
        self.told_right += ((logits > 0) == present).logical_and(known).sum(0)
        self.known += known.sum(0)
        return {
            "loss": classification_loss(logits, Batch(logits, target), reduction="none"),
            "confidence": odds.amax(1),
            "true_probability": (odds * present).sum(1) / present.sum(1),  # 0 / 0 is NaN
        }

    def compute(self) -> Evaluation:
        """Compute all values over all images so far."""
        columns, ranking, calibration = self.columns.joined(), self.ranking.compute(), self.calibration.compute()
        chart, images = self.chart.compute(), class_sizes(self.split.targets, len(self.names))
        precision, areas = (values.nanmean().item() for values in ranking)
        values: dict[str, float] = {
            name: float(columns[name].double().mean()) for name in ("top1", "top5", "loss") if name in columns
        }
        values |= {
            "map": precision if images.any() else 0.0,
            "roc_auc": areas,
            "calibration_error": float(calibration.error),
            "ks_margin": float(chart.margin),
            "ks_at": float(chart.at),
        }
        per_class: ByColumn = {"images": images.tolist(), "average_precision": listed(ranking.average_precision)}
        per_class["roc_auc"] = listed(ranking.roc_auc)
        tables: Tables = {
            "classes": self.names,
            "per_class": per_class,
            "calibration": {
                name: listed(getattr(calibration, name)) for name in ("confidence", "accuracy", "predictions")
            },
            "separation_chart": {
                "probability": chart.probability.tolist(),
                "target": listed(chart.target),
                "confused": listed(chart.confused),
                "margin": listed(chart.margin),
                "at": listed(chart.at),
            },
            "confused_pairs": pair_rows(self.pairs, self.names, images),
        }
        if self.multilabel:
            accuracy = summed(self.told_right).double() / summed(self.known)  # 0 / 0 is NaN
            per_class["accuracy"] = listed(accuracy)
            values["attribute_accuracy"] = accuracy.nanmean().item()
        else:
            per_class["top1"] = listed(means_by(columns["top1"].double(), self.split.targets.cpu(), len(self.names)))
            if self.split.groups is not None:
                groups = self.split.groups.cpu()
                found = means_by(columns["top1"].double(), groups, int(groups.max()) + 1)
                values["worst_group"] = float(found[~found.isnan()].min())
                tables["by_group"] = {"images": groups.bincount().tolist(), "top1": listed(found)}
        values = {name: value for name, value in values.items() if not math.isnan(value)}
        return Evaluation(values, columns, tables)


def new_ranking(images: int, count: int) -> ClassRanking:
    """Make an exact ranking, or one in bins if the scores of all images and classes would take too much memory."""
    return ClassRanking(count, None if images * count <= _EXACT else _BINS)


def pair_rows(pairs: ConfusedPairs, names: list[str], images: Tensor) -> list[ConfusedPair]:
    """List the 50 most frequent confusions for a table.

    Args:
        pairs: the counted pairs.
        names: class names.
        images: (C,) number of images of each class.

    Returns:
        Rows of "true" and "taken" (names), "classes" (both numbers), "count", "images" (of the true class) and
        "overlap" (mean over the counted images, None where attention was not measured).
    """
    return [
        {
            "true": names[pair.true],
            "taken": names[pair.taken],
            "classes": [pair.true, pair.taken],
            "count": pair.times,
            "images": int(images[pair.true]),
            "overlap": None if math.isnan(pair.overlap) else pair.overlap,
        }
        for pair in pairs.compute()[:_LISTED]
    ]


SUITES.add("classification", Shared("1 forward", Classification, reads_maps=False, place=1))
METRICS.add(
    "top1", Metric("Accuracy", "higher", "How many images get the right class.", percent=True, place=1, topic="main")
)
METRICS.add(
    "top5",
    Metric(
        "Top-5 accuracy",
        "higher",
        "How many images have the right class among the five best guesses.",
        percent=True,
        place=2,
    ),
)
METRICS.add(
    "worst_group",
    Metric("Worst group", "higher", "Accuracy in the group of images where it is lowest.", percent=True, place=4),
)
METRICS.add(
    "map",
    Metric(
        "Mean average precision",
        "higher",
        "How well the images of each class are ranked before others.",
        percent=True,
        place=3,
        topic="main",
    ),
)
METRICS.add(
    "loss", Metric("Loss", "lower", "How wrong and how sure of it: the number that training brings down.", place=5)
)
METRICS.add("confidence", Metric("Confidence", "", "The probability of the class that is guessed.", percent=True))
METRICS.add(
    "true_probability",
    Metric("Probability of the true class", "higher", "How sure the network is of what is right.", percent=True),
)
METRICS.add(
    "confused_probability",
    Metric("Probability of the most confusing class", "lower", "How sure it is of the best wrong guess.", percent=True),
)
METRICS.add(
    "calibration_error",
    Metric(
        "Calibration error", "lower", "How far stated probabilities are from how often they come true.", percent=True
    ),
)
METRICS.add(
    "ks_margin",
    Metric(
        "Margin of true and most confusing class",
        "",
        "The largest distance of both probabilities' distributions. The wider the better, while the true class is the "
        "likelier one.",
    ),
)
METRICS.add("ks_at", Metric("Probability at that margin", "", "Where the two curves are farthest apart."))
METRICS.add(
    "roc_auc",
    Metric("Area under the ROC curve", "higher", "How well each class is told from the rest, whatever the threshold."),
)
METRICS.add(
    "attribute_accuracy",
    Metric(
        "Accuracy of attributes",
        "higher",
        "How often the presence or absence of a class is told right, averaged over classes.",
        percent=True,
    ),
)
