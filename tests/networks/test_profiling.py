import time

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from looksharp.networks import AttentionBranchNetwork, SmallNet, profiling
from looksharp.networks.profiling import accuracy_per_million, profile, profile_side_by_side


def test_parameters_and_operations_in_closed_form():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
    )
    found = profile(net, (12, 20))
    assert found.parameters == 8 * 3 * 9 + 8 + 8 * 5 + 5
    assert found.flops == 2 * (6 * 10 * 8 * 3 * 9) + 2 * 8 * 5


class Attending(nn.Module):
    """Fused attention of two heads over the image's rows."""

    def forward(self, images):
        tokens = images.mean(1).unflatten(2, (2, -1)).transpose(1, 2)  # (B, 2, H, W / 2)
        return F.scaled_dot_product_attention(tokens, tokens, tokens).flatten(1)


def test_fused_attention_is_counted():
    assert profile(Attending(), (6, 8)).flops == 2 * (2 * 6 * 6 * 4) * 2  # heads x (QK, AV)


def test_a_size_is_the_side_of_a_square():
    net = SmallNet(10, width=4)
    assert profile(net, 24, repeats=1).flops == profile(net, (24, 24), repeats=1).flops
    assert profile(net, 24, repeats=1).parameters == sum(p.numel() for p in net.parameters())


class Slow(nn.Module):
    def forward(self, images):
        time.sleep(0.01)
        return images.flatten(1)


def test_time_is_of_one_image():
    alone, four = (profile(Slow(), 4, batch_size=size, repeats=3).seconds_per_image for size in (1, 4))
    assert 0.01 <= alone < 0.1
    assert 0.0025 <= four < 0.025


def test_the_network_is_left_as_it_was():
    net = SmallNet(10, width=4)
    net.train()
    net.fc.eval()  # a mode of its own
    before = {name: value.clone() for name, value in net.state_dict().items()}
    profile(net, 24, repeats=1)
    assert net.training
    assert not net.fc.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    with pytest.raises(RuntimeError):
        profile(nn.Sequential(nn.Linear(3, 3)).train(), 24)


def test_errors():
    with pytest.raises(ValueError, match="batch_size and repeats must be at least 1; got 0 and 10"):
        profile(Slow(), 4, batch_size=0)
    with pytest.raises(ValueError, match="batch_size and repeats must be at least 1; got 1 and 0"):
        profile(Slow(), 4, repeats=0)
    with pytest.raises(ValueError, match="parameters must be more than base_parameters, 70; got 70"):
        accuracy_per_million(0.5, 70, 0.4, 70)


def test_accuracy_per_million_is_the_papers():
    """WARN Table 3 and 4: a network of 68 M parameters, and its extension; dogs, food, cars and gender."""
    plain, extended = (0.896, 0.843, 0.885, 0.939), (0.929, 0.855, 0.900, 0.946)
    found = [accuracy_per_million(accuracy, 68_000_000) for accuracy in plain]
    assert [round(value, 1) for value in found] == [1.3, 1.2, 1.3, 1.4]
    pairs = zip(plain, extended, strict=True)
    found = [accuracy_per_million(after, 68_480_000, before, 68_000_000) for before, after in pairs]
    assert [round(value, 1) for value in found] == [6.9, 2.5, 3.1, 1.5]


def test_networks_side_by_side_take_turns(monkeypatch):
    networks, turns = [SmallNet(10, width=4), Slow().train(), SmallNet(10, width=8)], []
    whole = profiling._seconds
    monkeypatch.setattr(
        profiling, "_seconds", lambda model, images: turns.append(networks.index(model)) or whole(model, images)
    )
    found = profile_side_by_side(networks, 16, batch_size=2, repeats=3)
    assert turns == [0, 1, 2] * 4  # the first of each warms up
    assert [each.parameters for each in found] == [sum(p.numel() for p in net.parameters()) for net in networks]
    assert [each.flops for each in found] == [profile(net, 16, repeats=1).flops for net in networks]
    assert found[1].flops == 0
    assert found[1].seconds_per_image >= 0.005
    assert all(net.training for net in networks)
    with pytest.raises(ValueError, match="batch_size and repeats must be at least 1; got 1 and 0"):
        profile_side_by_side(networks, 16, repeats=0)


def test_an_attention_branch_costs_what_its_layers_do():
    """Counted by hand: the last stage at stride 1, 1x1 convolutions to K, to K again and to the map."""
    plain, branched = SmallNet(10, width=4), AttentionBranchNetwork(SmallNet(10, width=4), image_size=32)
    base, found = profile_side_by_side([plain, branched], 32, repeats=1)
    positions = 8 * 8
    assert found.flops - base.flops == 2 * positions * (9 * 4 * 8 + 8 * 10 + 10 * 10 + 10)
    assert found.parameters - base.parameters == (
        9 * 4 * 8 + 2 * 8 + 2 * 8 + 8 * 10 + 2 * 10 + 10 * 10 + 10 + 2  # weights, and BatchNorm's scale and shift
    )
