"""GAIN Eq. 1 to 8: the library against loops written from the paper's text, for each reading."""

import loops
import numpy as np
import pytest
import torch

from looksharp.batch import Batch, BatchMarks
from looksharp.objectives import GAIN, Guidance

SINGLE = [[2], [0], [3]]
SEVERAL = [[0, 2], [1], [0, 2, 3]]
MARKED = ((2, 0), (1, 1), (2, 3), (2, 2))  # (image, class)


def targets_of(labels, several):
    if not several:
        return torch.tensor([each for (each,) in labels])
    targets = torch.zeros(len(labels), 4)
    for row, each in enumerate(labels):
        targets[row, each] = 1
    return targets


def masks():
    generator = torch.Generator().manual_seed(5)
    return torch.rand(len(MARKED), 8, 8, dtype=torch.float64, generator=generator).round()


def map_of(by_loop, image, label):
    inner, last, _ = by_loop(image)
    return loops.average_weighted(last, by_loop.gradients(inner, last, label)[1])  # Eq. 1 and 2


def self_guidance(by_loop, image, labels, several, **numbers):
    """L_cl and L_am of an image."""
    scores = by_loop(image)[2]
    left = [(label, by_loop(loops.without(image, map_of(by_loop, image, label), **numbers))[2]) for label in labels]
    known = loops.soft_margin(scores, labels) if several else loops.cross_entropy(scores, *labels)
    return known, loops.mining(left, several)


@pytest.mark.parametrize("labels", [SINGLE, SEVERAL], ids=["single-label", "multi-label"])
@pytest.mark.parametrize("numbers", [{}, {"sigma": 0.3, "omega": 40.0}], ids=["defaults", "others"])
def test_self_guidance(network, by_loop, images, labels, numbers):
    several = labels is SEVERAL
    alpha = 0.7
    step = GAIN(layer="last", alpha=alpha, **numbers)(network, (images, targets_of(labels, several)))
    found = [self_guidance(by_loop, *each, several, **numbers) for each in zip(images.numpy(), labels, strict=True)]
    known, mined = (sum(column) / len(found) for column in zip(*found, strict=True))
    assert step.terms["classification"].item() == pytest.approx(known, abs=1e-12)
    assert step.terms["mining"].item() == pytest.approx(mined, abs=1e-12)
    assert step.loss.item() == pytest.approx(known + alpha * mined, abs=1e-12)  # Eq. 6


def external_of(by_loop, images):
    """L_e: a mean over each image's marked classes, then over the images that have any."""
    found = []
    for place, image in enumerate(images.numpy()):
        own = [(label, masks()[row].numpy()) for row, (owner, label) in enumerate(MARKED) if owner == place]
        if own:
            found.append(loops.external([(map_of(by_loop, image, label), mask) for label, mask in own]))
    return sum(found) / len(found), found


@pytest.mark.parametrize("external", ["alone", "shared"])
@pytest.mark.parametrize("labels", [SINGLE, SEVERAL], ids=["single-label", "multi-label"])
def test_external_supervision(network, by_loop, images, labels, external):
    """Eq. 8 and Fig. 3: "alone", S_cl sees images with labels and S_e the last one, with its masks; or all in S_cl."""
    several = labels is SEVERAL
    marks = BatchMarks(torch.tensor([i for i, _ in MARKED]), torch.tensor([c for _, c in MARKED]), masks())
    batch = Batch(images, targets_of(labels, several), marks, external=1)
    step = (GAIN(layer="last", external=external) + Guidance("squared_error", layer="last"))(network, batch)
    count = 2 if external == "alone" else 3
    streams = zip(images.numpy()[:count], labels[:count], strict=True)
    found = [self_guidance(by_loop, *each, several) for each in streams]
    known, mined = (sum(column) / count for column in zip(*found, strict=True))
    guided, _ = external_of(by_loop, images)
    assert step.terms["guidance"].item() == pytest.approx(guided, abs=1e-12)
    assert step.loss.item() == pytest.approx(known + mined + 10 * guided, abs=1e-11)


def test_an_image_with_more_classes_counts_as_one(by_loop, images):
    """1/n is over an image's classes: a mean over all pairs would weigh the image with three three times."""
    mean, found = external_of(by_loop, images)
    counts = [1, 3]
    over_pairs = float(np.average(found, weights=counts))
    assert abs(mean - over_pairs) > 0.01
