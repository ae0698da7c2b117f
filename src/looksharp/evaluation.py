"""Measure a trained classifier on a split: how well it classifies, and where it looks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric
from torchmetrics.classification import MultilabelAveragePrecision
from tqdm import tqdm

from looksharp.attention import attention_maps
from looksharp.batch import Batch
from looksharp.data.sampling import InOrder
from looksharp.data.split import Pixels, Split
from looksharp.mechanisms import Mechanism
from looksharp.metrics import attention_inside, mean_average_precision, separability
from looksharp.objectives.icasc import confused_classes
from looksharp.recording import logits_of, record
from looksharp.stages import last_stages

__all__ = ["evaluate"]


def evaluate(
    model: nn.Module,
    split: Split,
    pixels: Pixels,
    *,
    mechanism: str | Mechanism = "grad_cam",
    layers: Sequence[str] | None = None,
    batch_size: int = 64,
    workers: int = 0,
    progress: str | None = None,
) -> dict[str, float]:
    """Classification and attention of `model` over a split, each value a mean over images.

    Args:
        model: in the mode it is to be measured in; its first parameter's device is used.
        split: images; their masks, where known, tell where the objects are.
        pixels: how they become input.
        mechanism: how maps are made.
        layers: (inner, last); found in the network if not given.
        batch_size: images a forward; changes nothing but speed and memory.
        workers: processes that read image files.
        progress: title of a progress bar; none if not given.

    Returns:
        "top1", "top5" (or "map" for several labels), "loss"; "overlap_last", "overlap_inner" and "consistency" (see
        `separability`); where masks are known "attention_inside", and "no_attention", the share of masked pairs
        whose map is zero everywhere and left out of it; where groups are known "worst_group", the lowest top-1 of
        a group. Values lie between 0 and 1, except the loss.

    Raises:
        ValueError: if `layers` are not two, or not in the network.
    """
    if layers is not None and len(layers) != 2:
        raise ValueError(f"layers must name two, the inner one and the last; got {', '.join(layers) or 'none'}")
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    loader = split.loader(InOrder(len(split), batch_size), pixels, device=device, workers=workers)
    measures = _Measures(device)
    for batch in tqdm(loader, progress, disable=progress is None, leave=False):
        layers = layers or last_stages(model, batch.image)
        measures.update(model, batch, layers, mechanism)
    return measures.compute()


class _Measures:
    """Sums over batches; every value is weighted by how many images or pairs it was taken from."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.means: dict[str, MeanMetric] = {}
        self.groups: dict[int, MeanMetric] = {}
        self.precision: MultilabelAveragePrecision | None = None

    def add(self, name: str, values: Tensor) -> None:
        if name not in self.means:
            self.means[name] = MeanMetric(nan_strategy="ignore").to(self.device)
        self.means[name].update(values.double())

    def update(self, model: nn.Module, batch: Batch, layers: Sequence[str], mechanism: str | Mechanism) -> None:
        inner, last = layers
        with torch.no_grad(), record(model, (inner, last)) as features:
            output = model(batch.image)
        logits = logits_of(output).detach()
        classes, valid = confused_classes(logits, batch.target)
        maps = attention_maps(output, features, classes, mechanism)
        for name, values in separability(maps[inner], maps[last]).items():
            self.add(name, values[valid])
        self._classification(logits, batch)
        if batch.guidance:
            self._localisation(maps[last], classes, batch)

    def _classification(self, logits: Tensor, batch: Batch) -> None:
        if batch.multilabel:
            target = batch.target.to(logits.dtype)
            self.add("loss", F.multilabel_soft_margin_loss(logits, target, reduction="none"))
            if self.precision is None:
                self.precision = MultilabelAveragePrecision(logits.shape[1], average=None).to(self.device)
            self.precision.update(logits.sigmoid(), batch.target.long())
            return
        self.add("loss", F.cross_entropy(logits, batch.target, reduction="none"))
        ranked = logits.topk(min(5, logits.shape[1])).indices
        right = ranked == batch.target.unsqueeze(1)
        self.add("top1", right[:, 0])
        self.add("top5", right.any(1))
        if batch.group is not None:
            for group in batch.group.unique().tolist():
                self.groups.setdefault(group, MeanMetric().to(self.device)).update(
                    right[batch.group == group, 0].double()
                )

    def _localisation(self, maps: Tensor, classes: Tensor, batch: Batch) -> None:
        """Pairs whose class is one of the image's true ones; its map is then among those made."""
        assert batch.guidance is not None
        guidance = batch.guidance
        matches = classes[guidance.sample, :-1] == guidance.label.unsqueeze(1)  # (G, T)
        if batch.multilabel:  # where some of `classes` are only padding
            matches = matches & (batch.target[guidance.sample, guidance.label] > 0.5).unsqueeze(1)
        found = matches.any(1)
        place = matches.int().argmax(1)[found]
        chosen = maps[guidance.sample[found], place]  # (G, h, w)
        inside = attention_inside(chosen, guidance.mask[found])
        self.add("attention_inside", inside)
        self.add("no_attention", inside.isnan())

    def compute(self) -> dict[str, float]:
        values = {name: float(mean.compute()) for name, mean in self.means.items()}
        if self.precision is not None:
            values["map"] = float(mean_average_precision(self.precision))
        if self.groups:
            values["worst_group"] = min(float(group.compute()) for group in self.groups.values())
        order = ("top1", "top5", "map", "worst_group", "loss", "attention_inside", "overlap_last", "overlap_inner")
        named = [name for name in order if name in values] + [name for name in values if name not in order]
        return {name: values[name] for name in named if not math.isnan(values[name])}
