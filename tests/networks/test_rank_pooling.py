import pytest
import torch

from looksharp.networks.rank_pooling import decay_at, rank_pooling


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.996, 1.0])
def test_against_a_loop(decay):
    maps = torch.rand(2, 3, 4, 5, dtype=torch.float64)
    found = rank_pooling(maps, decay)
    for image in range(2):
        for channel in range(3):
            ranked = sorted(maps[image, channel].flatten().tolist(), reverse=True)
            weights = [decay**place for place in range(20)]  # 0 ** 0 is 1
            expected = sum(w * v for w, v in zip(weights, ranked, strict=True)) / sum(weights)
            assert found[image, channel].item() == pytest.approx(expected, rel=1e-12)


def test_its_ends_are_the_maximum_and_the_mean():
    maps = torch.rand(2, 3, 4, 5)
    torch.testing.assert_close(rank_pooling(maps, 0), maps.amax((2, 3)))
    torch.testing.assert_close(rank_pooling(maps, 1), maps.mean((2, 3)))
    torch.testing.assert_close(rank_pooling(maps, 1e-6), maps.amax((2, 3)), rtol=0, atol=1e-5)
    torch.testing.assert_close(rank_pooling(maps.double(), 1 - 1e-9), maps.double().mean((2, 3)))


def test_gradients():
    maps = torch.rand(1, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: rank_pooling(x, 0.9), maps)


def test_the_decay_keeps_its_shares_at_other_sizes():
    assert decay_at(0.996, 41 * 41) == 0.996
    assert decay_at(0.0, 100) == 0
    assert decay_at(0.996, 100) ** 100 == pytest.approx(0.996**1681)
    torch.manual_seed(0)
    maps = torch.rand(1, 10, 10).sort().values
    large = maps.repeat_interleave(4, 1).repeat_interleave(4, 2)
    found = [rank_pooling(each, decay_at(0.99, each.numel())) for each in (maps, large)]
    torch.testing.assert_close(*found, rtol=0.05, atol=0)


def test_a_decay_that_is_no_share_is_refused():
    with pytest.raises(ValueError, match=r"^decay must be 0 to 1; got 1.5$"):
        rank_pooling(torch.rand(1, 2, 2), 1.5)
