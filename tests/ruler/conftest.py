"""A network whose cue is known in closed form: it reads the colour of one patch and nothing else."""

import pytest
import torch
from torch import nn

from looksharp.attention.mechanisms import MECHANISMS
from looksharp.data.split import Data, Pixels
from looksharp.data.splits.memory import TensorSplit
from looksharp.marks.marks import Marks

SIDE, PATCH = 24, 6


class ColourNet(nn.Module):
    """Averages what of each colour exceeds 0.6; without any such colour the answer is the class "none"."""

    def __init__(self):
        super().__init__()
        self.conv, self.relu, self.fc = nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Linear(3, 4)
        with torch.no_grad():
            self.conv.weight.copy_(torch.eye(3)[..., None, None])
            self.conv.bias.fill_(-0.6)
            self.fc.weight.copy_(torch.cat([100 * torch.eye(3), torch.zeros(1, 3)]))
            self.fc.bias.copy_(torch.tensor([0, 0, 0, 0.1]))

    def forward(self, images):
        return self.fc(self.relu(self.conv(images)).mean((-2, -1)))


def colours(count, cues=True, marks=False):
    """Dim images with a patch at random places, whose colour is the class."""
    generator = torch.Generator().manual_seed(3)
    images = (0.5 * 255 * torch.rand(count, 3, SIDE, SIDE, generator=generator)).byte()
    masks = torch.zeros(count, SIDE, SIDE, dtype=torch.bool)
    targets = torch.arange(count) % 3
    for image, mask, target in zip(images, masks, targets, strict=True):
        row, column = torch.randint(SIDE - PATCH + 1, (2,), generator=generator).tolist()
        mask[row : row + PATCH, column : column + PATCH] = True
        image[:, mask] = 0
        image[target][mask] = 255
    patches = Marks(range(count), targets.tolist(), masks)
    split = TensorSplit(
        targets=targets, images=images, marks=patches if marks else None, cues=patches if cues else None
    )
    pixels = Pixels((SIDE, SIDE), mean=(0, 0, 0), std=(1, 1, 1))
    return Data("colours", ("red", "green", "blue", "none"), {"train": split, "test": split}, pixels, "none")


@pytest.fixture
def net():
    return ColourNet().eval()


@pytest.fixture
def elsewhere(monkeypatch):
    """The name of a mechanism that points at all that the network does not read."""
    list(MECHANISMS)  # all are found
    monkeypatch.setitem(
        MECHANISMS._things, "elsewhere", lambda features, gradients: 1.0 * (features.amax(1) == 0)[:, None]
    )
    return "elsewhere"
