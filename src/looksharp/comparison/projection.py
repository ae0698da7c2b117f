"""Project images onto the plane; images that a network sees as alike lie close."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from looksharp.attention.recording import logits_of, record
from looksharp.attention.stages import last_stages
from looksharp.comparison.results import Projection
from looksharp.comparison.scenes import load_images
from looksharp.data.split import Split
from looksharp.training.folder import Run

__all__ = ["penultimate_features", "project"]

_BATCH = 64


@torch.no_grad()
def penultimate_features(run: Run, split: Split, images: Sequence[int]) -> Tensor:
    """Return the input (N, D) of the last linear layer, or the last stage's mean over positions if none is last."""
    found = []
    for start in range(0, len(images), _BATCH):
        batch = load_images(split, images[start : start + _BATCH], run)
        layers = last_stages(run.model, batch.image, count=1)
        with record(run.model, layers) as features:
            logits = logits_of(run.model(batch.image))
        last = features.last_linear
        classifies = last is not None and last[3] is logits
        found.append((last[2] if classifies and last else features[layers[0]].mean((-2, -1))).detach().cpu().float())
    return torch.cat(found)


def project(run: Run, split: Split, images: Sequence[int]) -> Projection:
    """Project penultimate features by t-SNE with a fixed seed, as in ABN Fig. 6.

    An image of several classes is labelled by the first of them. Fewer than 4 images give no points.
    """
    from sklearn.manifold import TSNE

    labels = split.targets[list(images)]
    labels = labels.argmax(1) if labels.ndim == 2 else labels
    if len(images) < 4:
        return Projection(torch.empty(0, 2), labels[:0])
    features = penultimate_features(run, split, images).numpy()
    perplexity = min(30.0, (len(images) - 1) / 3)
    points = TSNE(perplexity=perplexity, init="pca", random_state=0, n_jobs=1).fit_transform(features)
    return Projection(torch.from_numpy(points), labels)
