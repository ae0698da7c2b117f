"""The network's own attention beside the mechanisms."""

import pytest
import torch
from tests.ruler.conftest import colours

from looksharp import RulerSettings, rank_mechanisms
from looksharp.attention.maps import normalize_maps, resize_maps
from looksharp.data.sets.synthetic import biased_digits
from looksharp.networks import AttendAndRectify, AttentionBranchNetwork, CifarResNet, built_in_attention
from looksharp.ruler.own import own_map

SETTINGS = {"images": 4, "perturbed": 0, "shown": 0, "workers": 0}


@pytest.fixture(params=[AttentionBranchNetwork, AttendAndRectify])
def attending(request):
    torch.manual_seed(0)
    return request.param(CifarResNet(8, 10), image_size=48).eval()


def test_one_map_of_several_heads_by_a_loop(attending):
    images = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    found, own = built_in_attention(attending, images), own_map(attending, images, torch.tensor([3, 7]))
    size = max((maps.shape[-2:] for maps in found.maps.values()), key=lambda each: each.numel())
    assert own.shape == (2, *size)
    for b in range(2):
        expected = torch.zeros(*size)
        for place, maps in found.maps.items():
            for head in range(maps.shape[1]):
                share = found.shares[place][b, head] if place in found.shares else 1 / maps.shape[1]
                expected += share * resize_maps(normalize_maps(maps[b : b + 1, head : head + 1]), tuple(size))[0, 0]
        torch.testing.assert_close(own[b], expected)


def test_of_a_map_for_each_class_the_answers_own_is_taken(monkeypatch):
    maps = torch.rand(2, 4, 3, 3)
    found = type("Found", (), {"maps": {"here": maps}, "shares": {}, "per_class": True})
    monkeypatch.setattr("looksharp.ruler.own.built_in_attention", lambda model, images: found)
    own = own_map(torch.nn.Identity(), torch.zeros(2, 3, 6, 6), torch.tensor([3, 1]))
    torch.testing.assert_close(own, normalize_maps(torch.stack([maps[0, 3], maps[1, 1]])))


def test_it_is_ranked_where_a_network_has_it(attending, monkeypatch):
    monkeypatch.setattr("looksharp.ruler.rank.MECHANISMS", {"grad_cam": None})
    data = biased_digits(train=1, val=1, test=4)
    ranking = rank_mechanisms(attending, data, RulerSettings(**SETTINGS), progress=False)
    by_name = {standing.name: standing for standing in ranking.standings}
    assert sorted(by_name) == ["built_in", "grad_cam"]
    assert by_name["built_in"].cost.total == pytest.approx(1)
    assert by_name["built_in"].scores["no_attention"].value == 0


def test_a_network_without_it_is_refused_in_one_line(net):
    only = RulerSettings(only=("grad_cam", "built_in"), layer="relu", **SETTINGS)
    refused = rank_mechanisms(net, colours(4), only, progress=False).refused
    assert list(refused) == ["built_in"]
    assert refused["built_in"].startswith("mechanism 'built_in' needs a network with attention of its own")
