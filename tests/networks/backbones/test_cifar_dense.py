import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from looksharp.networks import cifar_densenet


def _on_meta(depth, growth):
    with torch.device("meta"):
        return cifar_densenet(depth, growth, num_classes=10).eval()


@pytest.mark.parametrize(
    ("depth", "growth", "published", "digits"),
    [(100, 12, 0.8, 1), (250, 24, 15.3, 1), (190, 40, 25.6, 1), (40, 36, 1.5, 1), (40, 48, 2.7, 1)],
)
def test_parameter_counts_are_the_published_ones(depth, growth, published, digits):
    """Huang et al., Table 2, and the wide ones of the authors' page."""
    count = sum(parameter.numel() for parameter in _on_meta(depth, growth).parameters())
    assert round(count / 1e6, digits) == published


@pytest.mark.parametrize(("depth", "growth", "stated"), [(100, 12, 0.29), (190, 40, 9.3)])
def test_size_and_cost_are_as_counted_by_hand(depth, growth, stated):
    network = _on_meta(depth, growth)
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, 32, 32, device="meta"))
    channels = 2 * growth
    parameters, cost = 27 * channels, 32**2 * 27 * channels
    for side in (32, 16, 8):
        for _ in range((depth - 4) // 6):
            weights = channels * 4 * growth + 9 * 4 * growth * growth
            parameters += weights + 2 * channels + 2 * 4 * growth
            cost += side**2 * weights
            channels += growth
        parameters += 2 * channels
        if side > 8:
            parameters += channels * (channels // 2)
            cost += side**2 * channels * (channels // 2)
            channels //= 2
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters + 10 * channels + 10
    assert counter.get_total_flops() == 2 * (cost + 10 * channels)
    assert cost / 1e9 == pytest.approx(stated, abs=0.05)


@pytest.mark.parametrize("depth", [10, 100])
def test_depth_counts_the_weighted_layers(depth):
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in _on_meta(depth, 4).modules()) == depth


def test_maps_have_the_stated_sizes():
    network, shapes = cifar_densenet(100, 12, num_classes=10).eval(), {}
    for name, module in network.features.named_children():
        module.register_forward_hook(lambda _, __, output, name=name: shapes.update({name: tuple(output.shape[1:])}))
    network(torch.zeros(1, 3, 32, 32))
    assert shapes == {
        "conv0": (24, 32, 32),
        "denseblock1": (216, 32, 32),
        "transition1": (108, 16, 16),
        "denseblock2": (300, 16, 16),
        "transition2": (150, 8, 8),
        "denseblock3": (342, 8, 8),
        "norm5": (342, 8, 8),
    }
    assert list(shapes) == list(dict(network.features.named_children()))


def test_network_is_its_formula():
    network = cifar_densenet(16, 3, num_classes=4, in_channels=2).double().eval()
    for norm in (module for module in network.modules() if isinstance(module, nn.BatchNorm2d)):
        for values in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
            values.uniform_(0.5, 1.5)
    weights = dict(network.state_dict())
    images = torch.randn(2, 2, 12, 20, dtype=torch.float64)

    def activated(values, name):
        scale = weights[f"{name}.weight"] / (weights[f"{name}.running_var"] + 1e-5).sqrt()
        shift = weights[f"{name}.bias"] - weights[f"{name}.running_mean"] * scale
        return (values * scale[:, None, None] + shift[:, None, None]).clamp(0)

    features = F.conv2d(images, weights["features.conv0.weight"], padding=1)
    for block in (1, 2, 3):
        for layer in (1, 2):
            name = f"features.denseblock{block}.denselayer{layer}"
            hidden = torch.einsum(
                "oc,bchw->bohw", weights[f"{name}.conv1.weight"][..., 0, 0], activated(features, f"{name}.norm1")
            )
            new = F.conv2d(activated(hidden, f"{name}.norm2"), weights[f"{name}.conv2.weight"], padding=1)
            features = torch.cat([features, new], 1)
        if block < 3:
            name = f"features.transition{block}"
            features = torch.einsum(
                "oc,bchw->bohw", weights[f"{name}.conv.weight"][..., 0, 0], activated(features, f"{name}.norm")
            )
            features = features.unflatten(-1, (-1, 2)).unflatten(-3, (-1, 2)).mean((-3, -1))  # 2x2 averages
    pooled = activated(features, "features.norm5").mean((2, 3))
    expected = pooled @ weights["classifier.weight"].T + weights["classifier.bias"]
    torch.testing.assert_close(network(images), expected)


def test_convolutions_start_with_he_variance_and_the_classifier_without_bias():
    torch.manual_seed(0)
    network = cifar_densenet(10, 32, num_classes=10)
    weight = network.features.denseblock3.denselayer1.conv2.weight  # 36,864 numbers: 0.4% standard error
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 32)), rel=0.02)
    first = network.features.conv0.weight  # 1,728 numbers: 1.7% standard error
    assert first.std().item() == pytest.approx(math.sqrt(2 / (9 * 64)), rel=0.08)
    assert not network.classifier.bias.any()


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((4, 12, 10), r"^depth must be 6n \+ 4 with n of at least 1, got 4; take 40, 100, 190 or 250$"),
        ((101, 12, 10), r"^depth must be 6n \+ 4 with n of at least 1, got 101; "),
        ((100, 0, 10), r"^growth must be at least 1, got 0; "),
        ((100, 12, 0), r"^num_classes and in_channels must be at least 1, got 0 and 3; "),
    ],
)
def test_wrong_sizes_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        cifar_densenet(*sizes)
