import copy

import pytest
import torch
from torch import nn
from torchvision import models

from looksharp.attention.attend import attend, attention_maps
from looksharp.attention.recording import record
from looksharp.networks import CAMNetwork, CifarResNet, SmallNet, build_network
from looksharp.networks.cutting import at_stride_one


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_maps_are_the_weighted_class_maps_and_the_gradients_maps():
    network = CAMNetwork(CifarResNet(8, 5), image_size=32).double().eval()
    images, classes = torch.rand(2, 3, 32, 40, dtype=torch.float64), torch.tensor([[3, 0], [1, 4]])
    with record(network, ["class_maps"]) as features:
        logits = network(images)
    maps = features["class_maps"]
    assert maps.shape == (2, 5, 16, 20)  # of the last stage at stride 1
    found = attention_maps(logits, features, classes, "cam", signed=True)["class_maps"]
    expected = torch.zeros(2, 2, 16, 20, dtype=torch.float64)
    by_gradient = torch.zeros_like(expected)
    for image in range(2):
        for place, label in enumerate(classes[image].tolist()):
            for channel in range(5):
                expected[image, place] += network.classifier.weight[label, channel] * maps[image, channel]
            (gradient,) = torch.autograd.grad(logits[image, label], maps, retain_graph=True)
            by_gradient[image, place] = (gradient[image].mean((1, 2))[:, None, None] * maps[image]).sum(0)
    torch.testing.assert_close(found, expected.detach())
    torch.testing.assert_close(found / (16 * 20), by_gradient.detach())
    pooled = maps.mean((2, 3)) @ network.classifier.weight.T + network.classifier.bias
    torch.testing.assert_close(logits, pooled)


def test_attend_finds_the_layer_and_needs_no_backward(monkeypatch):
    network = CAMNetwork(SmallNet(5, width=4), image_size=32).eval()
    images = torch.rand(2, 3, 32, 32)
    expected = attend(network, images, top=2, layers=["class_maps"], mechanism="grad_cam")
    monkeypatch.setattr(torch.autograd, "grad", lambda *_, **__: pytest.fail("a backward"))
    found = attend(network, images, top=2, layers=["class_maps"], mechanism="cam")
    torch.testing.assert_close(found.maps["class_maps"] / 64, expected.maps["class_maps"])


@pytest.mark.parametrize(
    ("build", "side", "kernel", "channels", "positions"),
    [
        (models.resnet18, 64, 1, 512, 4),
        (models.vgg11_bn, 64, 3, 512, 4),
        (lambda: build_network("vgg11", 1000), 64, 3, 512, 4),
        # 2 x growth 4, and in three blocks of one layer: 8 + 4 = 12, 6 + 4 = 10, 5 + 4 = 9
        (lambda: build_network("cifar_densenet10_4", 1000), 32, 1, 9, 16),
    ],
)
def test_the_convolution_is_that_of_the_backbones_kind(build, side, kernel, channels, positions):
    with torch.device("meta"):
        network = CAMNetwork(build(), image_size=side)
        images = torch.empty(2, 3, side, side)
        assert network(torch.empty(2, 3, side + 32, side)).shape == (2, 1000)
        assert network.features(images)["maps"].shape == (2, channels, positions, positions)
    assert network.class_maps.kernel_size == (kernel, kernel)


def test_the_backbone_stays_as_it_was_and_its_weights_are_taken():
    backbone = CifarResNet(14, 5)
    before, images = copy.deepcopy(backbone), torch.rand(2, 3, 32, 32)
    network = CAMNetwork(backbone, image_size=32)
    backbone.eval()
    torch.testing.assert_close(backbone(images), before.eval()(images), rtol=0, atol=0)
    taken = network.features.state_dict()
    assert taken.keys() == {name for name in before.state_dict() if not name.startswith("fc.")}
    assert all(torch.equal(value, before.state_dict()[name]) for name, value in taken.items())
    network.eval()
    expected = at_stride_one(before.layer3).eval()(
        before.layer2(before.layer1(before.relu(before.bn1(before.conv1(images)))))
    )
    torch.testing.assert_close(network.features(images)["maps"], expected)


@pytest.mark.parametrize("training", [True, False])
def test_modes_follow(training):
    network = CAMNetwork(CifarResNet(8, 5).train(training), image_size=32)
    assert network.features.training == training
    network.train()
    network(torch.rand(4, 3, 32, 32))
    moved = network.features.bn1.running_mean.clone()
    assert moved.any()
    network.eval()
    network(torch.rand(4, 3, 32, 32))
    assert torch.equal(network.features.bn1.running_mean, moved)


class Branching(nn.Module):
    """What torch.fx cannot follow."""

    def __init__(self):
        super().__init__()
        self.inner = CifarResNet(8, 5)

    def forward(self, images):
        return self.inner(images if images.sum() > -1 else -images)


def test_backbones_that_do_not_fit():
    message = "^backbone Branching cannot be cut by torch.fx: symbolically traced variables cannot be used as inputs"
    with pytest.raises(ValueError, match=message) as caught:
        CAMNetwork(Branching(), image_size=32)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"^cut 'layer9' is no module of CifarResNet"):
        CAMNetwork(CifarResNet(8, 5), image_size=32, cut="layer9")


@pytest.mark.parametrize(
    ("build", "side", "message"),
    [
        (models.swin_t, 64, r"^cut 'features.6': the stage at stride 1 must keep the size of its input"),
        (
            lambda: build_network("torchvision/inception_v3", 5),
            299,
            "^cut 'Mixed_7a': the stage cannot run at stride 1",
        ),
    ],
)
def test_last_stages_that_cannot_run_at_stride_one(build, side, message):
    with torch.device("meta"), pytest.raises(ValueError, match=message) as caught:
        CAMNetwork(build(), image_size=side)
    assert "\n" not in str(caught.value)
