import re

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from torch import nn
from torch.nn import functional as F

from looksharp.attention.recording import record
from looksharp.attention.stages import last_stages
from looksharp.networks import ClutterNet, SpatialTransformer


def affine(scale_x=1.0, shift_x=0.0, scale_y=1.0, shift_y=0.0):
    return torch.tensor([[[scale_x, 0, shift_x], [0, scale_y, shift_y]]], dtype=torch.float64)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return SpatialTransformer(ClutterNet(10, width=4), image_size=40).double().eval()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-4)])
@pytest.mark.parametrize("size", [(40, 40), (24, 50)])
def test_at_the_start_it_is_the_backbone(network, dtype, tolerance, size):
    network, images = network.to(dtype), torch.randn(4, 3, *size, dtype=dtype)
    assert torch.equal(network.theta(images), torch.eye(2, 3, dtype=dtype).expand(4, -1, -1))
    torch.testing.assert_close(network(images), network.backbone(images), atol=tolerance, rtol=0)


@pytest.mark.parametrize(("down", "right"), [(3, 0), (0, -5), (-2, 7)])
def test_a_translation_by_whole_pixels_moves_them(network, down, right):
    images = torch.rand(2, 3, 12, 20, dtype=torch.float64)
    theta = affine(shift_x=2 * right / 20, shift_y=2 * down / 12).expand(2, -1, -1)
    padded = F.pad(images, (8, 8, 8, 8))
    expected = padded[..., 8 + down : 20 + down, 8 + right : 28 + right]
    torch.testing.assert_close(network.sample(images, theta), expected)


def test_a_zoom_by_two_shows_the_middle_between_pixels(network):
    """Halves of 8 px are magnified: each pixel's area becomes two, read a quarter of a pixel beside its centre."""
    line = torch.arange(8.0, dtype=torch.float64)
    images = line.expand(1, 1, 8, 8)
    expected = torch.tensor([1.75, 2.25, 2.75, 3.25, 3.75, 4.25, 4.75, 5.25], dtype=torch.float64)
    shown = network.sample(images, affine(scale_x=0.5, scale_y=0.5))
    torch.testing.assert_close(shown[0, 0], expected.expand(8, 8))


def test_any_affine_map_is_as_scipy_reads_it(network):
    images = torch.rand(3, 2, 9, 14, dtype=torch.float64)
    theta = torch.eye(2, 3, dtype=torch.float64) + 0.6 * torch.randn(3, 2, 3, dtype=torch.float64)
    shown = network.sample(images, theta)
    x, y = (np.arange(14) * 2 + 1) / 14 - 1, (np.arange(9) * 2 + 1) / 9 - 1  # the pixels' centres
    target = np.stack([np.tile(x, (9, 1)), np.tile(y[:, None], (1, 14)), np.ones((9, 14))])
    for number in range(3):
        source = np.einsum("ij,jhw->ihw", theta[number].numpy(), target)
        place = [(source[1] + 1) * 9 / 2 - 0.5, (source[0] + 1) * 14 / 2 - 0.5]
        for channel in range(2):
            expected = map_coordinates(images[number, channel].numpy(), place, order=1, mode="grid-constant")
            np.testing.assert_allclose(shown[number, channel].numpy(), expected, atol=1e-12)


def test_logits_are_the_backbones_of_what_theta_samples(network):
    with torch.no_grad():
        network.localisation[-2].weight.normal_(0, 0.3)
    images = torch.rand(3, 3, 40, 40, dtype=torch.float64)
    theta = network.theta(images)
    assert theta.std(0).min() > 1e-3  # each image has its own
    torch.testing.assert_close(network(images), network.backbone(network.sample(images, theta)))


def test_gradients_are_right_for_images_and_parameters():
    torch.manual_seed(1)
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    network = SpatialTransformer(backbone, image_size=8, in_channels=1, width=2, localisation_gradient=1).double()
    with torch.no_grad():
        network.localisation[-2].weight.normal_(0, 0.2)
    names, values = zip(*network.named_parameters(), strict=True)
    images = torch.rand(2, 1, 8, 8, dtype=torch.float64, requires_grad=True)

    def forward(images, *parameters):
        return torch.func.functional_call(network, dict(zip(names, parameters, strict=True)), (images,))

    assert torch.autograd.gradcheck(forward, (images, *(value.detach().requires_grad_() for value in values)))


class _Middle(nn.Module):
    """Knows two classes by the brightness of the 4 x 4 px in the middle of 16."""

    def forward(self, images):
        score = images[:, 0, 6:10, 6:10].sum((1, 2)) / 8
        return torch.stack([-score, score], 1)


def test_training_moves_theta_to_what_the_backbone_reads():
    """What tells the classes is at the left, one column of it in the middle: theta must bring the rest there."""
    torch.manual_seed(0)
    target = torch.arange(64) % 2
    images = torch.zeros(64, 1, 16, 16)
    images[:, 0, 4:12, 1:7] = (2.0 * target - 1)[:, None, None]
    network = SpatialTransformer(_Middle(), image_size=16, in_channels=1)
    # 4 of 16 pixels are seen at the start, so the scores are -0.5 and 0.5; with all of them, -2 and 2.
    assert F.cross_entropy(network(images), target).item() == pytest.approx(np.log1p(np.exp(-1)), rel=1e-4)
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(100):
        optimizer.zero_grad()
        F.cross_entropy(network(images), target).backward()
        optimizer.step()
    assert F.cross_entropy(network(images), target).item() == pytest.approx(np.log1p(np.exp(-4)), rel=0.1)
    with torch.no_grad():
        middle = network.theta(images) @ torch.tensor([0.0, 0.0, 1.0])  # (64, 2): where it is taken from
    assert (middle[:, 0] < -2 / 16).all()  # more than a pixel further left


def test_a_share_of_the_gradient_reaches_the_localisation_network(network):
    images = torch.rand(2, 3, 40, 40, dtype=torch.float64)

    def gradients(factor):
        network.train().localisation_gradient = factor
        network.zero_grad()
        network(images).square().sum().backward()
        return {name: parameter.grad.clone() for name, parameter in network.named_parameters()}

    whole, share = gradients(1), gradients(0.25)
    assert whole["localisation.10.bias"].abs().max() > 0
    for name, gradient in whole.items():
        torch.testing.assert_close(share[name], gradient * (0.25 if name.startswith("localisation") else 1))


def test_theta_can_be_recorded_by_a_hook_and_stages_are_the_backbones(network):
    images = torch.rand(2, 3, 40, 40, dtype=torch.float64)
    found = []
    handle = network.localisation.register_forward_hook(lambda _, __, output: found.append(output))
    network(images)
    handle.remove()
    assert torch.equal(found[0], network.theta(images))
    layers = last_stages(network, images)
    assert layers == ("backbone.stage2", "backbone.stage5")
    with record(network, layers) as features:
        network(images)
    assert features["backbone.stage5"].shape == (2, 8, 5, 5)


def test_large_images_cost_no_more_parameters():
    small, large = (SpatialTransformer(nn.Identity(), image_size=size) for size in (40, 224))
    count = [sum(parameter.numel() for parameter in network.parameters()) for network in (small, large)]
    # Two 5x5 convolutions, 20 units over 10 x 10 positions, six numbers of theta.
    by_hand = (75 * 20 + 20) + (500 * 20 + 20) + (2000 * 20 + 20) + (20 * 6 + 6)
    assert count == [by_hand, by_hand]
    assert large(torch.rand(1, 3, 224, 224)).shape == (1, 3, 224, 224)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 3}, "image_size must be at least 4 pixels a side, got 3 x 3"),
        ({"image_size": (40, 2)}, "image_size must be at least 4 pixels a side, got 40 x 2"),
        ({"width": 0}, "width must be at least 1, got 0"),
        ({"in_channels": 0}, "in_channels must be at least 1, got 0"),
        ({"localisation_gradient": 0}, "localisation_gradient must be above 0, got 0"),
    ],
)
def test_nothing_is_refused(options, message):
    with pytest.raises(ValueError, match=rf"^{re.escape(message)}$"):
        SpatialTransformer(nn.Identity(), **options)
