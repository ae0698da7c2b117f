"""Rank training images by the evidence on a recurring cue, and choose a few that are spread over all cues."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from looksharp.attention.mechanisms import Mechanism
from looksharp.data.split import Data, Pixels
from looksharp.evaluation.subject import class_sizes
from looksharp.suspects.patches import Patches, attended_patches
from looksharp.training.folder import Run, load_run

__all__ = ["Suspect", "Suspects", "cluster", "reader_of", "recurrence", "suspects"]


@dataclass(frozen=True, eq=False)
class Suspect:
    """One training image to mark.

    Attributes:
        index: its place in the training split.
        label: the class whose evidence was read.
        cluster: what it shares with others: a number from 1, in the order of `Suspects`.
        score: share times recurrence, in [0, 1).
        share: of the evidence on the attended patch, in (0, 1].
        patch: the attended patch, (h, w) booleans.
    """

    index: int
    label: int
    cluster: int
    score: float
    share: float
    patch: Tensor


@dataclass(frozen=True, eq=False)
class Suspects:
    """Result of `suspects`.

    Attributes:
        chosen: the images to mark, each once, the most wanted first.
        sizes: for each cluster, from 1, how many of the images looked at are in it.
        index: (P,) places of all images looked at that have evidence for a class of theirs.
        label: (P,) that class.
        cluster: (P,) from 1.
        score: (P,).
        layer: the layer that was read.
    """

    chosen: tuple[Suspect, ...]
    sizes: dict[int, int]
    index: Tensor
    label: Tensor
    cluster: Tensor
    score: Tensor
    layer: str


def suspects(
    model: nn.Module | Run | str | Path,
    data: Data,
    n: int = 32,
    *,
    layer: str | None = None,
    mechanism: str | Mechanism | None = None,
    batch_size: int = 64,
    workers: int = 0,
    seed: int = 0,
    most: int = 20_000,
    progress: bool = True,
) -> Suspects:
    """Choose the n training images whose marks tell a classifier most about what it should not read.

    No mask is read. What a network sees at each image's attended patch is clustered by k-means, with as many clusters
    as twice the classes, or n if that is less. An image's score is

        share of its evidence on the patch  *  recurrence of the patch

    where recurrence is the cosine similarity to the patches in the same cluster that stand for the same class, summed
    and divided by the number of all patches in the cluster: near 1 where the same thing is seen in many images of one
    class and no other, 0 for a patch that is alone. The evidence on a cue is the sum of the scores of one class in one
    cluster. Each place goes to the cue whose evidence, divided by one more than the images already chosen of its
    cluster and by one more than those of its class, is largest, and there to the highest score left: strong cues do
    not crowd out weaker ones, and what does not recur gets no place before them.

    Args:
        model: a run, the folder of one, or a classifier in evaluation mode.
        data: its training split is searched.
        n: how many images.
        layer: the layer to read; the end of the last stage if not given.
        mechanism: how maps are made; if not given, gradient_rollout in a vision transformer whose layer is not named,
            else grad_cam.
        batch_size: images a forward.
        workers: processes that read image files.
        seed: of the clusters.
        most: images to look at; of more, so many are drawn by seed, which bounds memory and time.
        progress: show a progress bar.

    Raises:
        ValueError: if n is below 1, or there are not so many training images with evidence for their class.

    Example:
        >>> from looksharp.data.sets.synthetic import biased_digits
        >>> from looksharp.networks import SmallNet
        >>> data = biased_digits(train=40, val=1, test=1)
        >>> found = suspects(SmallNet(10, width=8).eval(), data, n=4, progress=False)
        >>> len({suspect.index for suspect in found.chosen})
        4

    """
    split = data.splits["train"]
    if not 1 <= n <= len(split):
        raise ValueError(f"n must be 1 to {len(split)}, the training images of {data.name}; got {n}")
    network, pixels = reader_of(model, data)
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(seed))
    patches = attended_patches(
        network,
        split,
        pixels,
        sorted(order[:most].tolist()),
        layer=layer,
        mechanism=mechanism,
        batch_size=batch_size,
        workers=workers,
        progress=progress,
    )
    shown = len(patches.image.unique())
    if n > shown:
        raise ValueError(f"n must be at most {shown}, the training images with evidence for their class; got {n}")
    shown_classes = int((class_sizes(data.splits["train"].targets, len(data.classes)) > 0).sum())
    found = cluster(patches.feature, min(n, 2 * shown_classes), seed)
    score = patches.share * recurrence(patches.feature, found, patches.label)
    evidence = torch.zeros(int(found.max()) + 1).index_add(0, found, score)
    found = evidence.argsort(descending=True, stable=True).argsort()[found] + 1  # numbered in that order
    chosen = tuple(
        _suspect(patches, row, found, score) for row in _spread(patches.image, patches.label, found, score, n)
    )
    sizes = dict(sorted(Counter(found.tolist()).items()))
    return Suspects(chosen, sizes, patches.image, patches.label, found, score, patches.layer)


def reader_of(model: nn.Module | Run | str | Path, data: Data) -> tuple[nn.Module, Pixels]:
    """Return the network to read with, and the way from pixels to its input: a run's own, or that of the data.

    Raises:
        ValueError: if a run has other classes than the data.
    """
    model = load_run(model) if isinstance(model, str | Path) else model
    if not isinstance(model, Run):
        return model, data.pixels
    if data.classes != model.classes:
        raise ValueError(
            f"data {data.name} must have the run's {len(model.classes)} classes, first {model.classes[0]!r}; got "
            f"{len(data.classes)}, first {data.classes[0]!r}: map them by looksharp.training.data.fitted_data"
        )
    return model.model, model.pixels


def cluster(features: Tensor, clusters: int, seed: int) -> Tensor:
    """Cluster features (P, C) of length 1 by (spherical) k-means; return cluster numbers (P,) from 0."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct patches than clusters
        found = KMeans(min(clusters, len(features)), n_init=4, random_state=seed).fit_predict(features.numpy())
    return torch.from_numpy(found).long().unique(return_inverse=True)[1]


def recurrence(features: Tensor, clusters: Tensor, labels: Tensor) -> Tensor:
    """Measure the similarity of each patch to others of its cluster and class.

    Args:
        features: (P, C), of length 1.
        clusters: (P,).
        labels: (P,).

    Returns:
        (P,): sum of the cosines to the other patches of its cluster and class / number of patches in the cluster,
        not below 0.

    Example:
        >>> same = torch.tensor([[1.0, 0.0]]).expand(4, 2)
        >>> recurrence(same, torch.tensor([0, 0, 0, 1]), torch.tensor([5, 5, 8, 5]))
        tensor([0.3333, 0.3333, 0.0000, 0.0000])

    """
    _, kin = torch.stack([clusters, labels]).unique(dim=1, return_inverse=True)
    total = torch.zeros(int(kin.max()) + 1, features.shape[1]).index_add(0, kin, features)
    alike = (features * total[kin]).sum(1) - features.square().sum(1)
    return (alike / clusters.bincount()[clusters]).clamp(min=0)


def _spread(images: Tensor, labels: Tensor, clusters: Tensor, scores: Tensor, n: int) -> list[int]:
    """Return rows of n different images, in the order in which they are chosen."""
    (number, label), kin = torch.stack([clusters, labels]).unique(dim=1, return_inverse=True)  # (G,), (G,), (P,)
    evidence = torch.zeros(len(number)).index_add(0, kin, scores)
    best = scores.argsort(descending=True, stable=True)
    queues = [best[kin[best] == group].tolist()[::-1] for group in range(len(number))]
    of_cluster, of_class = torch.ones(int(number.max()) + 1), torch.ones(int(label.max()) + 1)
    chosen: dict[int, int] = {}  # image -> row
    while len(chosen) < n:
        group = int((evidence / (of_cluster[number] * of_class[label])).argmax())
        if not queues[group]:
            evidence[group] = -1
            continue
        row = queues[group].pop()
        if int(images[row]) not in chosen:  # for another of its classes
            chosen[int(images[row])] = row
            of_cluster[number[group]] += 1
            of_class[label[group]] += 1
    return list(chosen.values())


def _suspect(patches: Patches, row: int, clusters: Tensor, scores: Tensor) -> Suspect:
    patch = torch.zeros(patches.size, dtype=torch.bool)
    patch.view(-1)[patches.position[row]] = True
    index, label, number = (int(values[row]) for values in (patches.image, patches.label, clusters))
    return Suspect(index, label, number, float(scores[row]), float(patches.share[row]), patch)
