import copy

import pytest
import torch
from torch import nn
from torchvision.models import vgg16

from looksharp.attention.recording import record
from looksharp.networks import LargeFOV, SmallNet, build_classifier, head_parameters
from looksharp.networks.dilating import dilate
from looksharp.networks.large_fov import background_and_classes
from looksharp.networks.large_fov_head import LargeFOVHead
from looksharp.networks.rank_pooling import decay_at, rank_pooling


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def published():
    """The published network around VGG-16, and the backbone it was made of."""
    backbone = vgg16(weights=None).eval()
    return LargeFOV(backbone, image_size=321).eval(), backbone


def test_the_published_network(published):
    """DeepLab-CRF-LargeFOV: 321 px to 41, 20.5 million parameters, convolutions dilated by 2 and 12."""
    network, _ = published
    with torch.no_grad():
        assert network.dense(torch.rand(1, 3, 321, 321)).shape == (1, 1001, 41, 41)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert [m.dilation[0] for m in convolutions] == [1] * 10 + [2] * 3 + [12, 1, 1]
    assert [m.out_channels for m in convolutions[-3:]] == [1024, 1024, 1001]
    pools = [m for m in network.modules() if isinstance(m, nn.MaxPool2d)]
    assert [(m.kernel_size, m.stride, m.padding) for m in pools] == [(3, 2, 1)] * 3 + [(3, 1, 1)] * 2
    without_scores = sum(p.numel() for p in network.parameters()) - sum(p.numel() for p in network.scores.parameters())
    assert without_scores / 1e6 == pytest.approx(20.483904)  # those of VGG-16's convolutions, fc6 and fc7


def test_its_head_is_cut_from_connected_layers(published):
    network, backbone = published
    connected = backbone.classifier
    expected = connected[0].weight.view(4096, 512, 7, 7)[40, 7, 3, 6]
    assert network.head.fc6.weight[10, 7, 1, 2] == expected
    assert network.head.fc7.weight[5, 9, 0, 0] == connected[3].weight[20, 36]
    assert network.head.fc7.bias[5] == connected[3].bias[20]
    torch.testing.assert_close(network.backbone[0].weight, backbone.features[0].weight)
    assert network.added_parameters() == []
    assert {id(p) for p in head_parameters(network)} == {id(p) for p in network.scores.parameters()}


@pytest.mark.parametrize("stride", [8, 4, 2])
def test_a_dilated_network_sees_what_the_network_sees_and_more(stride):
    """At the positions that the network had, its map is the same; between them there are others."""
    network = SmallNet(10).eval()
    other, images = copy.deepcopy(network), torch.rand(2, 3, 48, 40)
    dilate(other, (48, 48), stride)
    with torch.no_grad():
        found, expected = (n.stage3(n.stage2(n.stage1(images))) for n in (other, network))
    step = 8 // stride
    assert found.shape[-2:] == (6 * step, 5 * step)
    torch.testing.assert_close(found[..., ::step, ::step], expected)


def test_the_first_resolution_stays():
    network = SmallNet(10)
    dilate(network, (48, 48), 1)
    with torch.no_grad():
        assert network.stage3(network.stage2(network.stage1(torch.rand(2, 3, 48, 48)))).shape[-1] == 24


def test_a_timm_network():
    network = build_classifier("resnet18", 5, image_size=(65, 65), architecture="large_fov", options={"width": 16})
    with torch.no_grad():
        assert network.dense(torch.rand(2, 3, 65, 65)).shape == (2, 6, 9, 9)
    assert {id(p) for p in network.added_parameters()} == {id(p) for p in network.head.parameters()}


def test_logits_are_the_log_odds_of_pooled_probabilities():
    network = LargeFOV(SmallNet(4), image_size=48, stride=2, width=16).eval()
    images = torch.rand(2, 3, 48, 48)
    with torch.no_grad(), record(network, ["scores"]) as features:
        logits = network(images)
    odds = background_and_classes(features["scores"])
    torch.testing.assert_close(odds.sum(1), torch.ones(2, 24, 24))
    pooled = rank_pooling(odds[:, 1:], decay_at(0.996, 24 * 24))
    torch.testing.assert_close(logits.sigmoid(), pooled)


def test_the_dilation_keeps_its_share_of_the_map():
    assert LargeFOV(SmallNet(4), image_size=48, stride=2, width=8).head.fc6.dilation == (7, 7)  # 12 of 41 are 7 of 24
    assert LargeFOV(SmallNet(4), image_size=48, stride=2, width=8, dilation=3).head.fc6.dilation == (3, 3)


def test_a_network_without_convolutions_is_refused():
    with pytest.raises(ValueError, match="VisionTransformer has no convolutions of falling resolution"):
        build_classifier("vit_tiny_patch16_224", 4, image_size=(224, 224), architecture="large_fov")


@pytest.mark.parametrize(
    ("inputs", "outputs"), [(4 * 6 * 6, 8), (4 * 7 * 7, 7)], ids=["another map", "fewer than the width"]
)
def test_a_head_that_connected_layers_do_not_fit_begins_anew(inputs, outputs):
    head = LargeFOVHead(4, 8, 2, 0.5)
    before = copy.deepcopy(head.state_dict())
    assert not head.cut_from(nn.Linear(inputs, outputs), nn.Linear(outputs, outputs))
    torch.testing.assert_close(head.state_dict(), before, rtol=0, atol=0)
    assert head.cut_from(nn.Linear(4 * 7 * 7, 8), nn.Linear(8, 8))
