"""Bright squares on grey noise: a segmenter learns them in a few steps."""

import pytest
import torch

from looksharp.data.split import Pixels
from looksharp.data.splits.memory import TensorSplit
from looksharp.marks.marks import Marks


def made(count, size=24, seed=0):
    """Return images (count, 3, size, size) of bytes with one 8 px square each, and their masks."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(60, 120, (count, 3, size, size), generator=generator, dtype=torch.uint8)
    masks = torch.zeros(count, size, size, dtype=torch.bool)
    for row, (top, left) in enumerate(torch.randint(0, size - 8, (count, 2), generator=generator).tolist()):
        masks[row, top : top + 8, left : left + 8] = True
    images[masks.unsqueeze(1).expand_as(images)] = 250
    return images, masks


@pytest.fixture(scope="session")
def squares():
    return made


@pytest.fixture(scope="session")
def pixels():
    return Pixels((24, 24), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


@pytest.fixture(scope="session")
def marked():
    """Forty images of two classes; the first twelve are marked."""
    images, masks = made(40)
    targets = torch.arange(40) % 2
    marks = Marks(list(range(12)), targets[:12].tolist(), list(masks[:12]))
    return TensorSplit(targets=targets, marks=marks, images=images), masks
