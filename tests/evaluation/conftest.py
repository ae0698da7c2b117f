from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from looksharp.data.sets.synthetic import digits
from looksharp.networks import SmallNet


@pytest.fixture(scope="session")
def data():
    return digits(train=16, val=16, test=24)


@pytest.fixture(scope="session")
def split(data):
    return data.splits["test"]


@pytest.fixture(scope="session")
def model(data):
    """Random weights, but BatchNorm knows the images, so that maps differ from image to image."""
    torch.manual_seed(0)
    net = SmallNet(10, width=8)
    with torch.no_grad():
        net.fc.weight.mul_(5)
        for _ in range(20):
            net(data.pixels.normalize(data.splits["train"].images))
    return net.eval()


@pytest.fixture(scope="session")
def several(split):
    """The digit, its parity as class 0 or 1, one image with no label and one with all."""
    targets = F.one_hot(split.targets, 10)
    targets[torch.arange(len(split)), split.targets % 2] = 1
    targets[3], targets[7] = 0, 1
    targets[8, 9] = 1
    return replace(split, targets=targets)


@pytest.fixture(scope="session")
def logits(model, split, data):
    with torch.no_grad():
        return model(data.pixels.normalize(split.images))
