import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from looksharp.networks import CifarBottleneckResNet, cifar_bottleneck_resnet, cifar_resnext


def _on_meta(build, *numbers):
    with torch.device("meta"):
        return build(*numbers, num_classes=10).eval()


def _parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("cardinality", "published", "exact"),
    [(8, 34.4, 34426698), (16, 68.1, 68155210)],  # Xie et al., Table 7
)
def test_resnext_parameter_counts_are_the_published_ones(cardinality, published, exact):
    count = _parameters(_on_meta(cifar_resnext, 29, cardinality, 64))
    assert count == exact
    assert count / 1e6 == pytest.approx(published, rel=0.002)


def _by_hand(blocks, width, groups=1, group_width=64):
    """Parameters and multiply-adds for 32 px, layer by layer, of 10 classes."""
    parameters, cost, inputs = 27 * width + 2 * width, 32**2 * 27 * width, width
    for side_in, side, planes in [(32, 32, width), (32, 16, 2 * width), (16, 8, 4 * width)]:
        inner, outputs = groups * (planes * group_width // 64), 4 * planes
        for block in range(blocks):
            before = side_in if block == 0 else side
            grouped = 9 * inner * inner // groups
            parameters += inputs * inner + grouped + inner * outputs + 4 * inner + 2 * outputs
            cost += before**2 * inputs * inner + side**2 * (grouped + inner * outputs)
            if block == 0:
                parameters += inputs * outputs + 2 * outputs
                cost += side**2 * inputs * outputs
            inputs = outputs
    return parameters + 10 * inputs + 10, cost + 10 * inputs


@pytest.mark.parametrize(
    ("build", "numbers", "sizes", "stated"),
    [
        (cifar_resnext, (29, 8, 64), (3, 64, 8, 64), 5.4),
        (cifar_resnext, (20, 8, 64), (2, 64, 8, 64), 3.7),
        (cifar_resnext, (29, 32, 4), (3, 64, 32, 4), 0.8),
        (cifar_bottleneck_resnet, (110,), (18, 16), 0.25),
    ],
)
def test_size_and_cost_are_as_counted_by_hand(build, numbers, sizes, stated):
    network = _on_meta(build, *numbers)
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, 32, 32, device="meta"))
    parameters, cost = _by_hand(*sizes)
    assert _parameters(network) == parameters
    assert counter.get_total_flops() == 2 * cost
    assert cost / 1e9 == pytest.approx(stated, abs=0.05)


def test_bottleneck_resnet_110_has_164_layers():
    network = _on_meta(cifar_bottleneck_resnet, 110)
    shortcuts = [module for name, module in network.named_modules() if name.endswith("downsample.0")]
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert len(shortcuts) == 3  # one a stage, beside the longest path
    assert len(layers) - len(shortcuts) == 164
    assert _parameters(network) / 1e6 == pytest.approx(1.7, abs=0.05)  # ResNet-164: He et al. 2016, 1603.05027
    assert [len(stage) for stage in (network.layer1, network.layer2, network.layer3)] == [18, 18, 18]


@pytest.mark.parametrize("depth", [11, 29])
def test_resnext_depth_counts_the_weighted_layers_of_the_longest_path(depth):
    network = _on_meta(cifar_resnext, depth, 2, 4)
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert len(layers) - 3 == depth


def test_maps_have_the_papers_sizes():
    network = cifar_resnext(11, 2, 8, num_classes=10).eval()
    shapes = {}
    for name in ("conv1", "layer1", "layer2", "layer3"):
        network.get_submodule(name).register_forward_hook(
            lambda _, __, output, name=name: shapes.update({name: tuple(output.shape[1:])})
        )
    network(torch.zeros(1, 3, 32, 32))
    assert shapes == {"conv1": (64, 32, 32), "layer1": (256, 32, 32), "layer2": (512, 16, 16), "layer3": (1024, 8, 8)}


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("place", [0, 1])
def test_block_is_a_sum_of_as_many_paths_as_there_are_groups(groups, place):
    """Xie et al., Eq. 2 and Fig. 3 (a): paths of their own, added up."""
    network = CifarBottleneckResNet(2, 8, 3, groups=groups, group_width=16).double().eval()
    block, stride = network.layer2[place], 2 - place
    for norm in (module for module in block.modules() if isinstance(module, nn.BatchNorm2d)):
        for values in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
            values.uniform_(0.5, 1.5)
    features = torch.randn(2, (32, 64)[place], 9, 9, dtype=torch.float64)

    def normalised(values, norm, part=slice(None)):
        scale = norm.weight[part] / (norm.running_var[part] + norm.eps).sqrt()
        return (values - norm.running_mean[part, None, None]) * scale[:, None, None] + norm.bias[part, None, None]

    width = 16 * 16 // 64  # channels of a path: 16 for 64 planes, and this stage has 16 planes
    summed = 0
    for path in range(groups):
        part = slice(path * width, (path + 1) * width)
        hidden = torch.einsum("oc,bchw->bohw", block.conv1.weight[part, :, 0, 0], features)
        hidden = normalised(hidden, block.bn1, part).clamp(0)
        hidden = F.conv2d(hidden, block.conv2.weight[part], stride=stride, padding=1)
        hidden = normalised(hidden, block.bn2, part).clamp(0)
        summed = summed + torch.einsum("oc,bchw->bohw", block.conv3.weight[:, part, 0, 0], hidden)
    expected = normalised(summed, block.bn3)
    if place == 0:
        projection, norm = block.downsample
        shortcut = torch.einsum("oc,bchw->bohw", projection.weight[:, :, 0, 0], features[:, :, ::2, ::2])
        expected += normalised(shortcut, norm)
    else:
        assert block.downsample is None
        expected += features
    torch.testing.assert_close(block(features.clone()), expected.clamp(0))


def test_convolutions_start_with_he_variance():
    torch.manual_seed(0)
    conv = cifar_resnext(11, 4, 64, num_classes=10).layer2[0].conv2  # 589,824 numbers: 0.1% standard error
    assert conv.weight.shape == (512, 128, 3, 3)
    assert conv.weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 512)), rel=0.01)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: cifar_resnext(28, 8, 64, 10), r"^depth must be 9n \+ 2 .*, got 28; take 20, 29, 38 or 47$"),
        (lambda: cifar_resnext(2, 8, 64, 10), r"^depth must be 9n \+ 2 with n of at least 1, got 2; "),
        (lambda: cifar_resnext(29, 0, 64, 10), r"^cardinality must be at least 1, got 0; "),
        (lambda: cifar_resnext(29, 8, 0, 10), r"^width must be at least 1, got 0; "),
        (lambda: cifar_bottleneck_resnet(45, 10), r"^depth must be 6n \+ 2 .*, got 45; take 44, 56 or 110$"),
        (lambda: cifar_bottleneck_resnet(2, 10), r"^depth must be 6n \+ 2 with n of at least 1, got 2; "),
        (lambda: CifarBottleneckResNet(0, 16, 10), r"^blocks must be at least 1, got 0; "),
        (lambda: CifarBottleneckResNet(1, 0, 10), r"^width must be at least 1, got 0; "),
        (
            lambda: CifarBottleneckResNet(1, 16, 10, group_width=3),
            r"^group_width must give a group a channel, got 3 for 64 planes and 16 planes; take 4 or more$",
        ),
        (lambda: CifarBottleneckResNet(1, 16, 0), r"^num_classes and in_channels must be at least 1, got 0 and 3; "),
    ],
)
def test_wrong_sizes_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
