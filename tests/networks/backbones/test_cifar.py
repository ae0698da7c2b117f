import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from looksharp.networks import CifarResNet
from looksharp.networks.backbones.cifar import BasicBlock


@pytest.mark.parametrize(
    ("depth", "published", "exact"),
    [(20, 0.27, 269722), (32, 0.46, 464154), (44, 0.66, 658586), (56, 0.85, 853018), (110, 1.7, 1727962)],
)
def test_parameter_counts_are_the_published_ones(depth, published, exact):
    with torch.device("meta"):
        network = CifarResNet(depth, num_classes=10)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == exact
    assert count / 1e6 == pytest.approx(published, rel=0.02)  # Table 6 rounds to two digits


@pytest.mark.parametrize("depth", [8, 20, 110])
def test_depth_counts_the_weighted_layers_of_the_longest_path(depth):
    with torch.device("meta"):
        network = CifarResNet(depth, num_classes=10)
    assert sum(isinstance(module, nn.Conv2d | nn.Linear) for module in network.modules()) == depth


def test_maps_have_the_papers_sizes():
    network = CifarResNet(20, num_classes=10).eval()
    shapes = {}
    for name in ("layer1", "layer2", "layer3"):
        network.get_submodule(name).register_forward_hook(
            lambda _, __, output, name=name: shapes.update({name: tuple(output.shape)})
        )
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
    assert shapes == {"layer1": (1, 16, 32, 32), "layer2": (1, 32, 16, 16), "layer3": (1, 64, 8, 8)}


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (7, 5)])
def test_any_size_and_number_of_channels_is_classified(size):
    assert CifarResNet(8, num_classes=4, in_channels=1)(torch.rand(2, 1, *size)).shape == (2, 4)


@pytest.mark.parametrize("size", [(8, 8), (7, 5)])
def test_shortcut_is_every_second_position_and_zeros_for_new_channels(size):
    block = BasicBlock(2, 5, stride=2)
    features = torch.randn(3, 2, *size)
    height, width = math.ceil(size[0] / 2), math.ceil(size[1] / 2)
    expected = torch.zeros(3, 5, height, width)
    for image in range(3):
        for channel in range(2):
            for row in range(height):
                for column in range(width):
                    expected[image, channel, row, column] = features[image, channel, 2 * row, 2 * column]
    assert torch.equal(block.downsample(features), expected)
    assert not list(block.downsample.parameters())


@pytest.mark.parametrize(("in_channels", "stride"), [(6, 1), (3, 2)])
def test_block_is_its_formula(in_channels, stride):
    block = BasicBlock(in_channels, 6, stride).double().eval()
    for norm in (block.bn1, block.bn2):
        for values in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
            values.uniform_(0.5, 1.5)
    features = torch.randn(2, in_channels, 9, 9, dtype=torch.float64)

    def normalised(x, norm):
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        return (x - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]

    hidden = normalised(F.conv2d(features, block.conv1.weight, stride=stride, padding=1), block.bn1).clamp(0)
    expected = normalised(F.conv2d(hidden, block.conv2.weight, padding=1), block.bn2)
    expected[:, :in_channels] += features[:, :, ::stride, ::stride]
    torch.testing.assert_close(block(features), expected.clamp(0))


def test_logits_are_one_linear_layer_of_the_last_maps_mean():
    network = CifarResNet(8, num_classes=3).double().eval()
    maps = []
    network.layer3.register_forward_hook(lambda _, __, output: maps.append(output))
    logits = network(torch.rand(2, 3, 20, 20, dtype=torch.float64))
    expected = torch.einsum("kc,bchw->bk", network.fc.weight, maps[0]) / maps[0][0, 0].numel()
    torch.testing.assert_close(logits, expected + network.fc.bias)


def test_convolutions_start_with_he_variance():
    torch.manual_seed(0)
    weight = CifarResNet(8, num_classes=10).layer3[0].conv2.weight  # 36,864 numbers: 0.4% standard error
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 64)), rel=0.02)


@pytest.mark.parametrize("depth", [2, 18, 21])
def test_depth_other_than_6n_plus_2_is_refused(depth):
    with pytest.raises(ValueError, match=rf"^depth must be 6n \+ 2 .*got {depth}; take 20, 32, 44, 56 or 110$"):
        CifarResNet(depth, num_classes=10)


def test_no_classes_and_no_channels_are_refused():
    with pytest.raises(ValueError, match=r"^num_classes and in_channels must be at least 1, got 0 and 3; "):
        CifarResNet(20, num_classes=0)
    with pytest.raises(ValueError, match=r"^num_classes and in_channels must be at least 1, got 10 and 0; "):
        CifarResNet(20, num_classes=10, in_channels=0)


def test_block_that_loses_channels_is_refused():
    with pytest.raises(ValueError, match=r"^in_channels must be at most out_channels=4, got 8: "):
        BasicBlock(8, 4)
