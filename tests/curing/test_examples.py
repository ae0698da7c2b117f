"""The maps of a cure's examples are made by what finds the cue."""

from types import SimpleNamespace

import pytest
import timm
import torch

from looksharp.attention.attend import attend
from looksharp.curing.examples import _Finders, _look
from looksharp.networks import SmallNet
from looksharp.suspects.default import cue_finder


@pytest.mark.parametrize("kind", ["transformer", "convolutions"])
def test_maps_are_of_the_mechanism_that_suspects_are_found_by(kind):
    torch.manual_seed(0)
    shape = {"img_size": 24, "patch_size": 6, "embed_dim": 12, "depth": 2, "num_heads": 2}
    net = timm.create_model("vit_tiny_patch16_224", num_classes=3, **shape) if kind == "transformer" else SmallNet(3)
    run = SimpleNamespace(model=net.eval(), multilabel=False, classes=("cat", "dog", "cow"))
    image, finders = torch.randn(3, 24, 24), _Finders()
    logits = net(image[None])[0].detach()
    label = 1
    other = 0 if logits[0] > logits[2] else 2
    (answer, right), panel = _look(run, image, label, finders)
    assert right == (logits.argmax() == label)
    assert answer == f"{run.classes[int(logits.argmax())]} {logits.softmax(0).max():.0%}"
    finder = cue_finder(net, image[None], None)
    assert finders.of(net, image[None]) == finder
    if kind == "transformer":
        assert (panel.title, finder) == ("dog", "gradient_rollout")
        expected = attend(net, image[None], torch.tensor([label]), mechanism="gradient_rollout").maps["blocks.0"][0, 0]
    else:
        assert (panel.title, finder) == (f"dog over {run.classes[other]}", "recipro_cam")
        classes = torch.tensor([[label, other]])
        (maps,) = attend(net, image[None], classes, mechanism="recipro_cam", signed=True).maps.values()
        expected = maps[0, 0] - maps[0, 1]
    assert expected.abs().max() > 0
    torch.testing.assert_close(panel.attention, expected)
