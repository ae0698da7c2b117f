import sys

import pytest
import torch

from looksharp.networks.backbones.build import build_network
from looksharp.networks.backbones.memory_format import channels_last
from looksharp.propagation.unet import SmallUNet

NETWORKS = ["small", "small_deep", "clutter_cnn", "cifar_resnet8", "cifar_resnet8_bottleneck", "cifar_wrn10_2"]


def built(name):
    return SmallUNet() if name == "SmallUNet" else build_network(name, 4)


@pytest.mark.parametrize("name", [*NETWORKS, "SmallUNet"])
def test_maps_have_their_channels_last_and_their_values_are_the_same(name, monkeypatch):
    network, images = built(name).double().eval(), torch.rand(2, 3, 32, 32, dtype=torch.float64)
    kept = []
    convolution = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)][1]
    convolution.register_forward_hook(lambda module, inputs, output: kept.append(output))
    found = network(images)
    monkeypatch.setattr(sys.modules[type(network).__module__], "channels_last", lambda images: images)
    torch.testing.assert_close(found, network(images))
    last, first = kept
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert first.is_contiguous()
    torch.testing.assert_close(last, first)


def test_images_elsewhere_stay_as_they_are():
    images = torch.rand(2, 3, 8, 8, device="meta")
    assert channels_last(images) is images
    with_channels_last = torch.rand(2, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    assert channels_last(with_channels_last) is with_channels_last
