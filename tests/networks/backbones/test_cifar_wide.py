import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from looksharp.networks import CifarWideResNet
from looksharp.networks.backbones.cifar_wide import WideBlock


def _on_meta(depth, width):
    with torch.device("meta"):
        return CifarWideResNet(depth, width, num_classes=10).eval()


@pytest.mark.parametrize(
    ("depth", "width", "published", "exact"),
    [
        (16, 4, 2.75, 2748890),
        (28, 4, 5.9, 5849050),
        (40, 4, 8.9, 8949210),
        (16, 8, 11.0, 10961370),
        (28, 10, 36.5, 36479194),
        (40, 10, 55.8, 55841754),
    ],
)
def test_parameter_counts_are_the_published_ones(depth, width, published, exact):
    count = sum(parameter.numel() for parameter in _on_meta(depth, width).parameters())
    assert count == exact
    assert count / 1e6 == pytest.approx(published, rel=0.01)


@pytest.mark.parametrize(("depth", "width", "stated"), [(28, 10, 5.2), (40, 10, 8.1)])
def test_cost_is_as_stated(depth, width, stated):
    network = _on_meta(depth, width)
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, 32, 32, device="meta"))
    blocks, inputs = (depth - 4) // 6, 16
    by_hand = 32**2 * 9 * 3 * 16 + 64 * width * 10  # multiply-adds of the first and of the linear layer
    for side, channels in [(32, 16 * width), (16, 32 * width), (8, 64 * width)]:
        by_hand += side**2 * (9 * inputs * channels + inputs * channels + 9 * channels**2)
        by_hand += (blocks - 1) * side**2 * 2 * 9 * channels**2
        inputs = channels
    assert counter.get_total_flops() == 2 * by_hand
    assert by_hand / 1e9 == pytest.approx(stated, abs=0.05)


@pytest.mark.parametrize("depth", [10, 28, 40])
def test_depth_counts_the_convolutions_with_three_shortcuts(depth):
    assert sum(isinstance(module, nn.Conv2d) for module in _on_meta(depth, 2).modules()) == depth


def test_maps_have_the_papers_sizes():
    network = CifarWideResNet(10, 3, num_classes=10).eval()
    shapes = {}
    for name in ("conv1", "layer1", "layer2", "layer3", "relu"):
        network.get_submodule(name).register_forward_hook(
            lambda _, __, output, name=name: shapes.update({name: tuple(output.shape[1:])})
        )
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
    assert shapes == {
        "conv1": (16, 32, 32),
        "layer1": (48, 32, 32),
        "layer2": (96, 16, 16),
        "layer3": (192, 8, 8),
        "relu": (192, 8, 8),
    }


def _normalised(values, norm, mean, variance):
    scale = norm.weight / (variance + norm.eps).sqrt()
    return (values - mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]


@pytest.mark.parametrize(("in_channels", "stride"), [(6, 1), (4, 1), (4, 2), (6, 2)])
def test_block_is_its_formula(in_channels, stride):
    block = WideBlock(in_channels, 6, stride).double().eval()
    for norm in (block.bn1, block.bn2):
        for values in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
            values.uniform_(0.5, 1.5)
    features = torch.randn(2, in_channels, 9, 9, dtype=torch.float64)
    bn1, bn2 = block.bn1, block.bn2
    activated = _normalised(features, bn1, bn1.running_mean, bn1.running_var).clamp(0)
    hidden = F.conv2d(activated, block.conv1.weight, stride=stride, padding=1)
    hidden = _normalised(hidden, bn2, bn2.running_mean, bn2.running_var).clamp(0)
    expected = F.conv2d(hidden, block.conv2.weight, padding=1)
    if (in_channels, stride) == (6, 1):
        expected += features
        assert not list(block.shortcut.parameters())
    else:  # every stride-th position of the activated input, its channels mixed
        weight = block.shortcut.weight[:, :, 0, 0]
        expected += torch.einsum("oc,bchw->bohw", weight, activated[:, :, ::stride, ::stride])
    torch.testing.assert_close(block(features), expected)


def test_dropout_is_between_the_convolutions_and_in_training_alone():
    block = WideBlock(6, 6, dropout=0.3).double()
    features = torch.randn(4, 6, 9, 9, dtype=torch.float64)

    def batch_normalised(values, norm):
        return _normalised(values, norm, values.mean((0, 2, 3)), values.var((0, 2, 3), correction=0))

    hidden = F.conv2d(batch_normalised(features, block.bn1).clamp(0), block.conv1.weight, padding=1)
    hidden = batch_normalised(hidden, block.bn2).clamp(0)
    torch.manual_seed(3)
    mask = F.dropout(torch.ones_like(hidden), 0.3)
    torch.manual_seed(3)
    torch.testing.assert_close(block(features), F.conv2d(hidden * mask, block.conv2.weight, padding=1) + features)
    block.eval()
    assert torch.equal(block(features), block(features))


def test_dropout_reaches_every_block():
    dropouts = [m for m in CifarWideResNet(16, 1, 2, dropout=0.3).modules() if isinstance(m, nn.Dropout)]
    assert [dropout.p for dropout in dropouts] == [0.3] * 6
    assert not [m for m in CifarWideResNet(16, 1, 2).modules() if isinstance(m, nn.Dropout)]


def test_convolutions_start_with_he_variance_and_the_classifier_without_bias():
    torch.manual_seed(0)
    network = CifarWideResNet(10, 2, num_classes=10)
    weight = network.layer3[0].conv2.weight  # 147,456 numbers: 0.2% standard error
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 128)), rel=0.01)
    assert not network.fc.bias.any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 4}, r"^depth must be 6n \+ 4 with n of at least 1, got 4; take 16, 22, 28 or 40$"),
        ({"depth": 27}, r"^depth must be 6n \+ 4 with n of at least 1, got 27; "),
        ({"width": 0}, r"^width must be at least 1, got 0; "),
        ({"dropout": 1.0}, r"^dropout must be a probability below 1, got 1; take 0 or 0\.3$"),
        ({"dropout": -0.1}, r"^dropout must be a probability below 1, got -0\.1; "),
        ({"num_classes": 0}, r"^num_classes and in_channels must be at least 1, got 0 and 3; "),
    ],
)
def test_wrong_sizes_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        CifarWideResNet(**{"depth": 10, "width": 1, "num_classes": 2, **arguments})
