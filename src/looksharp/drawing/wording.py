"""Metrics in plain words, for readers who have not read the papers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from looksharp.interventions.measuring import INTERVENTIONS

__all__ = [
    "METRICS",
    "Metric",
    "curve_title",
    "duration",
    "find_metric",
    "in_change",
    "in_digits",
    "in_points",
    "in_words",
]


@dataclass(frozen=True)
class Metric:
    """How a metric is called, read and written.

    Attributes:
        label: its name in plain words.
        better: which direction is better; "" if not known.
        explanation: one short sentence.
        percent: whether it is a share, shown as per cent.
    """

    label: str
    better: Literal["higher", "lower", ""] = ""
    explanation: str = ""
    percent: bool = False


METRICS = {
    "top1": Metric("Accuracy", "higher", "How many images get the right class.", percent=True),
    "top5": Metric(
        "Top-5 accuracy",
        "higher",
        "How many images have the right class among the five best guesses.",
        percent=True,
    ),
    "worst_group": Metric("Worst group", "higher", "Accuracy in the group of images where it is lowest.", percent=True),
    "map": Metric(
        "Mean average precision",
        "higher",
        "How well the images of each class are ranked before others.",
        percent=True,
    ),
    "loss": Metric("Loss", "lower", "How wrong and how sure of it: the number that training brings down."),
    "attention_inside": Metric(
        "Attention on the object",
        "higher",
        "How much of the attention lies inside the object's outline.",
        percent=True,
    ),
    "no_attention": Metric(
        "No attention at all", "lower", "How many objects get a map that is empty everywhere.", percent=True
    ),
    "overlap_last": Metric(
        "Overlap of true and most confused class",
        "lower",
        "How much the network looks at the same place for the right class as for the wrong class it likes best. "
        "0 is apart, 1 is the same.",
    ),
    "overlap_inner": Metric(
        "Overlap at the earlier layer",
        "lower",
        "The same overlap, measured one stage before the last.",
    ),
    "consistency": Metric(
        "Agreement between layers",
        "higher",
        "How much of an earlier layer's attention lies where the last layer looks.",
    ),
    "rank_agreement": Metric(
        "Rank agreement of layers",
        "higher",
        "Whether both layers rank positions alike: 1 in the same order, 0 without relation.",
    ),
    "region_agreement": Metric(
        "Shared region of layers",
        "higher",
        "How far the strongest regions of both layers coincide.",
        percent=True,
    ),
    "pointing_game": Metric(
        "Pointing game", "higher", "How often the strongest attention lies on the object.", percent=True
    ),
    "map_iou": Metric(
        "Region on the object", "higher", "How far the attended region and the object coincide.", percent=True
    ),
    "pixel_ap": Metric(
        "Pixel average precision", "higher", "How well attention ranks the object's pixels before others.", percent=True
    ),
    "confidence": Metric("Confidence", "", "The probability of the class that is guessed.", percent=True),
    "true_probability": Metric(
        "Probability of the true class", "higher", "How sure the network is of what is right.", percent=True
    ),
    "confused_probability": Metric(
        "Probability of the most confusing class", "lower", "How sure it is of the best wrong guess.", percent=True
    ),
    "calibration_error": Metric(
        "Calibration error", "lower", "How far stated probabilities are from how often they come true.", percent=True
    ),
    "ks_margin": Metric(
        "Margin of true and most confusing class",
        "",
        "The largest distance of both probabilities' distributions. The wider the better, while the true class is "
        "the likelier one.",
    ),
    "ks_at": Metric("Probability at that margin", "", "Where the two curves are farthest apart."),
    "roc_auc": Metric(
        "Area under the ROC curve", "higher", "How well each class is told from the rest, whatever the threshold."
    ),
    "attribute_accuracy": Metric(
        "Accuracy of attributes",
        "higher",
        "How often the presence or absence of a class is told right, averaged over classes.",
        percent=True,
    ),
    "max_box_acc": Metric(
        "Box on the object",
        "higher",
        "How often the box around the attended region matches the object's.",
        percent=True,
    ),
    "max_box_acc_v2": Metric(
        "Box on the object, three strictnesses",
        "higher",
        "The same with the best box of each image, averaged over how well it must match.",
        percent=True,
    ),
    "insertion": Metric(
        "Insertion", "higher", "How soon the class is recognised as the most attended pixels are put in.", percent=True
    ),
    "deletion": Metric(
        "Deletion", "lower", "How long the class is recognised as the most attended pixels are taken out.", percent=True
    ),
    "average_drop": Metric(
        "Average drop", "lower", "How much of the class's probability is lost with what is not attended.", percent=True
    ),
    "confidence_increase": Metric(
        "Increase in confidence", "higher", "How often what is attended alone is more convincing.", percent=True
    ),
    "road": Metric(
        "ROAD", "higher", "How much more the class suffers from losing what is attended most than least.", percent=True
    ),
    **{name: Metric(label, better, percent=True) for name, (label, better) in INTERVENTIONS.items()},
}
METRICS |= {"separation_last": METRICS["overlap_last"], "separation_inner": METRICS["overlap_inner"]}
"""The metrics a page knows; it shows any other under its own name."""

_TERMS = {
    "classification": Metric("Classification term"),
    "separation_last": METRICS["overlap_last"],
    "separation_inner": METRICS["overlap_inner"],
    # The loss term, theta - share: it falls where the metric of the same name rises.
    "consistency": Metric("Disagreement between layers"),
    "mining": Metric("Confidence left with the attended part hidden", percent=True),
    "guidance": Metric("Distance from the given masks"),
}


def find_metric(name: str) -> Metric:
    """The metric of that name, or one that shows the name itself."""
    return METRICS.get(name, Metric(_sentence(name)))


def curve_title(name: str) -> tuple[str, Metric]:
    """A curve's title and metric, from a name such as "val_top1".

    Example:
        >>> curve_title("val_top1")[0]
        'Accuracy, validation'

    """
    if name.startswith("train_"):
        name = name.removeprefix("train_")
        metric = _TERMS.get(name, find_metric(name))
        return f"{metric.label}, training", metric
    if name.startswith("val_"):
        metric = find_metric(name.removeprefix("val_"))
        return f"{metric.label}, validation", metric
    metric = find_metric(name)
    return metric.label, metric


def in_words(value: float | None, percent: bool) -> str:
    """A value as it is shown; a dash where there is none.

    Example:
        >>> in_words(0.9731, True), in_words(0.12345, False), in_words(float("nan"), True)
        ('97.3%', '0.123', '–')

    """
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.1%}" if percent else f"{value:.3f}"


def in_points(difference: float) -> str:
    """A difference of two shares in points, with its sign.

    Example:
        >>> in_points(0.251), in_points(-0.03), in_points(0.0)
        ('+25.1', '−3.0', '±0.0')

    """
    text = f"{abs(difference) * 100:.1f}"
    sign = "±" if text == "0.0" else "+" if difference > 0 else "−"
    return sign + text


def in_change(difference: float, percent: bool) -> str:
    """A difference as it is shown: of shares in points, of others in their own unit.

    Example:
        >>> in_change(0.251, True), in_change(-0.0304, False), in_change(float("nan"), True)
        ('+25.1', '−0.030', '–')

    """
    if not math.isfinite(difference):
        return "–"
    if percent:
        return in_points(difference)
    text = f"{abs(difference):.3f}"
    return ("±" if float(text) == 0 else "+" if difference > 0 else "−") + text


def in_digits(count: float) -> str:
    """A large count in three digits.

    Example:
        >>> in_digits(1234567), in_digits(41_000_000_000), in_digits(512)
        ('1.23 M', '41 G', '512')

    """
    if not math.isfinite(count):
        return "–"
    for unit, size in {"T": 1e12, "G": 1e9, "M": 1e6, "k": 1e3}.items():
        if abs(count) >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.3g}"


def duration(seconds: float) -> str:
    """A time in the two largest units that matter.

    Example:
        >>> duration(3.21), duration(75), duration(3720)
        ('3.2 s', '1 min 15 s', '1 h 2 min')

    """
    if not math.isfinite(seconds):
        return "–"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _sentence(name: str) -> str:
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]
