"""An architecture, with the part that trains it, from another package."""

import re
from pathlib import Path

CONTRACT = Path(__file__).parents[1] / "networks" / "test_contract.py"
LOUD = '''
from dataclasses import dataclass

import torch
from torch import nn

from looksharp.attention.wrapping import Wrapping
from looksharp.networks import ARCHITECTURES, Attending, OwnMaps
from looksharp.objectives.base import PARTS, Part, Term


@ARCHITECTURES.register("spotlight")
class Spotlight(Wrapping, Attending):
    """Dims the image where a 1x1 convolution says so."""

    loss_parts = ("brightness",)

    def __init__(self, backbone, *, image_size=224, bias: float = 1.0):
        super().__init__()
        self.backbone, self.bias = backbone, bias
        self.light = nn.Sequential(nn.Conv2d(3, 1, 1), nn.Sigmoid())
        # A map has the name of the layer that reads it: here the backbone's first.
        self.place = next(name for name, _ in backbone.named_children())

    def added_parameters(self):
        return list(self.light.parameters())

    def attention_layers(self):
        return ("light",)

    def own_maps(self, features):
        return {self.place: OwnMaps(features["light"])}

    def forward(self, images):
        return self.backbone(images * self.light(images + self.bias))


@PARTS.register("brightness")
@dataclass(eq=False)
class Brightness(Part):
    """Little light."""

    weight: float = 0.1

    def recorded(self, model, batch):
        return ("light",)

    def terms(self, forward):
        return {"brightness": Term(forward.features["light"].float().mean(), self.weight)}, {}
'''


def test_another_package_adds_an_architecture(plugin):
    python = plugin(LOUD)
    code = (
        "from looksharp.networks import build_classifier; print(type(build_classifier('small', 3, image_size=(8, 8), "
        "architecture='spotlight', options={'bias': 2.0})).__name__)"
    )
    assert python("-c", code) == "Spotlight\n"
    assert "--spotlight.bias" in python("-m", "looksharp", "train", "--architecture", "spotlight", "--help")
    report = python("-m", "pytest", "-v", str(CONTRACT), "-k", "spotlight")
    assert re.search("[1-9][0-9]* passed", report)
