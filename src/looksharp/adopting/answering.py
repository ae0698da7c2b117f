"""Compare a model's answers to the classes of the data, to show what is off before anything is built on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchmetrics.classification import MultilabelAveragePrecision

from looksharp.attention.recording import logits_of
from looksharp.data.sampling import InOrder
from looksharp.data.split import Data, Split
from looksharp.metrics import mean_average_precision
from looksharp.training.folder import Run

__all__ = ["Answers", "answers_on", "permutation_hint"]

_BATCH = 32  # images a forward
_GAIN = 0.2  # in accuracy, from another order of the classes, which no chance brings
_MOST = 0.5  # of a class's images that are answered alike
_NAMED = 3  # classes in a hint
_LISTED = 20  # classes up to which the other order is written out
_NEAR_GUESSING = 1.5  # times the accuracy of guessing


@dataclass(frozen=True)
class Answers:
    """A model's answers on some images.

    Attributes:
        images: their number.
        splits: names of their splits.
        score: accuracy, or the mean average precision of multi-label images.
        confusion: (C, C) counts of images by class and answer; None for multi-label images.
        classes: names.
    """

    images: int
    splits: tuple[str, ...]
    score: float
    confusion: Tensor | None
    classes: tuple[str, ...]

    @property
    def said(self) -> str:
        """The result in words."""
        *others, last = self.splits
        where = f"{self.images:,} images of {' and '.join([', '.join(others), last] if others else [last])}"
        if self.confusion is None:
            return f"mean average precision {self.score:.3f} on {where}"
        present = int((self.confusion.sum(1) > 0).sum())
        guess = f"guessing among their {present} classes: {1 / max(present, 1):.1%}"
        return f"{self.score:.1%} on {where} ({guess})"

    @property
    def hint(self) -> str:
        """Say in one line what is off; "" where nothing is."""
        if self.confusion is None:
            return ""
        hint = permutation_hint(self.confusion, self.classes)
        if hint or self.score > _NEAR_GUESSING / max(int((self.confusion.sum(1) > 0).sum()), 1):
            return hint
        return (
            "that is little better than guessing: check the order of --classes, the weights, and the pixels "
            "(--image_size, --mean, --std)"
        )


def answers_on(run: Run, data: Data, images: int) -> Answers:
    """Run a model on images spread evenly over val and the test splits.

    Args:
        run: the run.
        data: the data; its targets are places in the run's classes.
        images: number of images.
    """
    splits = {name: split for name, split in data.splits.items() if name != "train"}
    unique = {name: split for name, split in splits.items() if _is_first(split, name, splits)}
    total = sum(map(len, unique.values()))
    device = next((p.device for p in run.model.parameters()), torch.device("cpu"))
    answered: list[Tensor] = []
    targets: list[Tensor] = []
    for split in unique.values():
        count = max(round(min(images, total) * len(split) / total), 1)
        places = torch.linspace(0, len(split) - 1, count).long().tolist()
        batches = [[places[place] for place in chosen] for chosen in InOrder(count, _BATCH)]
        for batch in split.loader(batches, run.pixels, device=device):
            with torch.no_grad():
                answered.append(logits_of(run.model(batch.image)).float().cpu())
            targets.append(batch.target.cpu())
    logits, target = torch.cat(answered), torch.cat(targets)
    if run.multilabel:
        metric = MultilabelAveragePrecision(logits.shape[1], average=None, ignore_index=-1)
        metric.update(logits.sigmoid(), target.long())
        return Answers(len(logits), tuple(unique), float(mean_average_precision(metric)), None, run.classes)
    classes = logits.shape[1]
    confusion = (target * classes + logits.argmax(1)).bincount(minlength=classes**2).view(classes, classes)
    score = float((logits.argmax(1) == target).double().mean())
    return Answers(len(logits), tuple(unique), score, confusion, run.classes)


def permutation_hint(confusion: Tensor, classes: Sequence[str]) -> str:
    """Say which classes seem to have changed places; empty where another order would not answer far better.

    Args:
        confusion: (C, C) counts of images by class and answer.
        classes: names of the classes, as the model's outputs are called now.

    Example:
        >>> permutation_hint(torch.tensor([[1, 9], [8, 2]]), ["cat", "dog"]).partition("; ")[0]
        "predictions look permuted: 'cat' of the data is answered as 'dog' in 90%, 'dog' as 'cat' in 80%"

    """
    images = confusion.sum(1)
    rows, columns = linear_sum_assignment(confusion.numpy(), maximize=True)
    matched = confusion[rows, columns]
    right, better = (float(part.sum() / images.sum().clamp(min=1)) for part in (confusion.diagonal(), matched))
    shares = matched / images.clamp(min=1)
    moved = [row for row in range(len(classes)) if columns[row] != row and images[row] > 0 and shares[row] >= _MOST]
    if better - right < _GAIN or not moved:
        return ""
    moved.sort(key=lambda row: -float(matched[row]))
    parts = [f"{classes[row]!r} as {classes[columns[row]]!r} in {shares[row]:.0%}" for row in moved[:_NAMED]]
    parts[0] = parts[0].replace(" as ", " of the data is answered as ", 1)
    more = f" and {len(moved) - _NAMED} more" if len(moved) > _NAMED else ""
    order = [classes[row] for row in sorted(rows, key=lambda row: columns[row])]
    mend = f"in the order --classes {','.join(order)}" if len(order) <= _LISTED else "in another order of --classes"
    return f"predictions look permuted: {', '.join(parts)}{more}; {mend} {better:.0%} would be correct"


def _is_first(split: Split, name: str, splits: dict[str, Split]) -> bool:
    """Return True unless the same split stands before, under another name."""
    return next(other for other in splits if splits[other] is split) == name
