import pytest
import torch

from looksharp.attention.recording import record
from looksharp.networks import AttendAndRectify, AttentionBranchNetwork, CAMNetwork, CifarResNet, built_in_attention
from looksharp.networks.built_in import has_built_in_attention


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def no_backward(monkeypatch):
    monkeypatch.setattr(torch.autograd, "grad", lambda *_, **__: pytest.fail("a backward"))
    monkeypatch.setattr(torch.Tensor, "backward", lambda *_, **__: pytest.fail("a backward"))


@pytest.mark.parametrize("multitask", [False, True])
def test_an_attention_branchs_map_without_a_backward(multitask, no_backward):
    network = AttentionBranchNetwork(CifarResNet(8, 6), image_size=32, multitask=multitask).eval()
    images = torch.rand(2, 3, 32, 32)
    assert has_built_in_attention(network)
    found, expected = built_in_attention(network, images), network.explained(images)
    assert found.maps.keys() == {"layer3"}
    assert found.maps["layer3"].shape == (2, 3 if multitask else 1, 16, 16)
    torch.testing.assert_close(found.maps["layer3"], expected.maps.detach())
    torch.testing.assert_close(found.logits, expected.logits.detach())
    assert found.per_class == multitask
    assert found.shares == {}
    assert not found.logits.requires_grad
    assert not found.maps["layer3"].requires_grad
    torch.testing.assert_close(built_in_attention(torch.nn.DataParallel(network), images).maps, found.maps)


def test_attention_modules_masks_the_last_layer_first(no_backward):
    network = AttendAndRectify(CifarResNet(8, 6), image_size=32).eval()
    images = torch.rand(2, 3, 32, 32)
    found = built_in_attention(network, images)
    assert list(found.maps) == list(reversed(network.layers))
    assert not found.per_class
    for name, maps in found.maps.items():
        assert maps.shape[1] == found.shares[name].shape[1]
        torch.testing.assert_close(maps.sum((2, 3)), torch.ones(maps.shape[:2]))  # each mask's softmax
    with record(network, ["gate"]) as features:
        network(images)
    own = features["gate"].detach()[:, -1, 0, 0]  # what the network's own output keeps
    torch.testing.assert_close(own + sum(shares.sum(1) for shares in found.shares.values()), torch.ones(2))


@pytest.mark.parametrize("network", [CifarResNet(8, 6), CAMNetwork(CifarResNet(8, 6), image_size=32)])
def test_networks_without_attention_of_their_own(network):
    assert not has_built_in_attention(network)
    message = r"^mechanism 'built_in' needs a network with attention of its own, .*; \w+ has none: take grad_cam$"
    with pytest.raises(ValueError, match=message):
        built_in_attention(network, torch.rand(2, 3, 32, 32))


def test_no_map_waits_for_garbage_collection(in_cycles):
    network = AttendAndRectify(CifarResNet(8, 6), image_size=32).eval()
    assert in_cycles(lambda: built_in_attention(network, torch.rand(2, 3, 32, 32))) == []
