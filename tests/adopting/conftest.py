import argparse
import sys

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch.nn import functional as F

from looksharp import cli

CLASSES = ("blue", "green", "red")
SIDE = 64


@pytest.fixture(scope="session")
def colours(tmp_path_factory):
    """A folder of square pictures in which a patch of the class's colour lies somewhere on grey noise."""
    root, rng = tmp_path_factory.mktemp("images") / "colours", np.random.default_rng(0)
    for place, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for number in range(20):
            pixels = rng.integers(60, 120, (SIDE, SIDE, 3), dtype=np.uint8)
            row, column = rng.integers(0, SIDE - 24, 2)
            pixels[row : row + 24, column : column + 24] = 0
            pixels[row : row + 24, column : column + 24, 2 - place] = 250
            Image.fromarray(pixels).save(root / name / f"{number:02d}.png")
    return root


def pictures(root, classes=CLASSES):
    """All pictures (N, 3, H, W) in [0, 1] and their classes (N,), read without looksharp."""
    files = [(path, label) for label, name in enumerate(classes) for path in sorted((root / name).iterdir())]
    images = [torch.tensor(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1) for path, _ in files]
    return torch.stack(images).float() / 255, torch.tensor([label for _, label in files])


def normalised(images, mean, std):
    return (images - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


def trained(network, root, mean, std, steps=25, classes=CLASSES):
    """Train a network by a plain loop; returns it in evaluation mode."""
    torch.manual_seed(0)
    images, targets = pictures(root, classes)
    images = normalised(images, mean, std)
    optimizer = torch.optim.AdamW(network.train().parameters(), 3e-3)
    for _ in range(steps):
        chosen = torch.randperm(len(images))[:24]
        output = network(images[chosen])
        loss = F.cross_entropy(output if isinstance(output, torch.Tensor) else output["logits"], targets[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


@pytest.fixture(scope="session")
def resnet(colours):
    """A tiny ResNet of timm, trained outside looksharp; with the mean and std it was trained with."""
    return of_timm("test_resnet", colours, 25)


@pytest.fixture(scope="session")
def vit(colours):
    """The same of a vision transformer, which takes images of any size."""
    return of_timm("test_vit", colours, 60)


def of_timm(name, root, steps):
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=3)
    mean, std = network.pretrained_cfg["mean"], network.pretrained_cfg["std"]
    return trained(network, root, mean, std, steps), mean, std


@pytest.fixture
def looksharp(capfd):
    """Run a command that must succeed; gives what it printed."""

    def call(*arguments):
        capfd.readouterr()
        status = cli.main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        assert status == 0, err
        assert "error" not in err
        return out, err

    return call


@pytest.fixture
def fails(capfd):
    """Run a command that must fail; gives its one line."""

    def call(*arguments):
        capfd.readouterr()
        assert cli.main([str(argument) for argument in arguments]) == 2
        line = capfd.readouterr().err.strip()
        assert line.startswith("looksharp: error: ")
        assert "\n" not in line
        return line.removeprefix("looksharp: error: ")

    return call


@pytest.fixture
def own_code(tmp_path, monkeypatch):
    """Write a module of one's own into a working folder, in which the test then is; returns the folder."""

    def write(name, source, where="work"):
        folder = tmp_path / where
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.py").write_text(source)
        monkeypatch.chdir(folder)
        return folder

    before = set(sys.modules)
    yield write
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def namespace():
    return argparse.Namespace(lr=0.1)
