import pytest
import torch
from scipy.stats import spearmanr
from torch.nn import functional as F

from looksharp.metrics.agreement import rank_agreement, region_agreement

BLOB = torch.zeros(6, 6)
BLOB[1:3, 2:5] = torch.tensor([[1.0, 2, 3], [4, 5, 6]])


def large(maps, size):
    return F.interpolate(maps.double().unsqueeze(1), size, mode="bilinear", align_corners=False).squeeze(1).float()


@pytest.mark.parametrize(("first", "second"), [((6, 7), (6, 7)), ((3, 4), (7, 9)), ((7, 9), (3, 4)), ((4, 9), (8, 3))])
@pytest.mark.parametrize("tied", [False, True])
def test_it_is_scipys_rank_correlation(first, second, tied):
    torch.manual_seed(0)
    a, b = torch.randn(5, *first), torch.rand(5, *second)
    b[0] = F.interpolate(a[:1, None], second, mode="bilinear")[0, 0]
    if tied:
        a, b = a.relu().mul(2).round(), b.mul(3).round()
    size = max(first[0], second[0]), max(first[1], second[1])
    expected = [spearmanr(x.flatten(), y.flatten())[0] for x, y in zip(large(a, size), large(b, size), strict=True)]
    found = rank_agreement(a, b)
    assert found.tolist() == pytest.approx(expected, abs=1e-6)
    torch.testing.assert_close(rank_agreement(b, a), found)


def test_only_the_order_of_values_matters():
    torch.manual_seed(0)
    maps = torch.rand(4, 5, 5)
    torch.testing.assert_close(rank_agreement(maps, 3 * maps.exp() - 9), torch.ones(4))
    torch.testing.assert_close(rank_agreement(maps, 1 - maps), -torch.ones(4))


def test_unrelated_maps_do_not_agree():
    torch.manual_seed(0)
    found = rank_agreement(torch.rand(300, 8, 8), torch.rand(300, 8, 8))
    assert found.mean().abs() < 4 / 300**0.5 / 8  # four standard errors
    assert found.std().item() == pytest.approx(1 / 63**0.5, rel=0.15)


def test_a_flat_map_ranks_nothing():
    torch.manual_seed(0)
    flat = torch.tensor([0.0, 0.3, 7.1]).view(3, 1, 1).expand(3, 3, 4)
    assert rank_agreement(flat, torch.rand(3, 11, 13)).isnan().all()
    assert rank_agreement(torch.rand(3, 11, 13), flat).isnan().all()
    found = rank_agreement(torch.stack([BLOB, torch.zeros(6, 6)]), torch.stack([BLOB, BLOB]))
    assert found[0].item() == pytest.approx(1)  # one spoils no other
    assert found[1].isnan()


def test_regions_by_hand():
    def agree(first, second, share=0.5):
        return region_agreement(first[None], second[None], share).item()

    assert agree(BLOB, 9 * BLOB) == 1
    assert agree(BLOB, BLOB.flip(0)) == 0
    other = torch.zeros(6, 6)
    other[2, 3:6] = 1
    assert agree(BLOB, other) == pytest.approx(2 / 5)  # 3, 4, 5, 6 reach half of 6; two of them are there
    assert agree(BLOB, other, 1) == pytest.approx(1 / 3)
    assert agree(BLOB, torch.ones(6, 6)) == pytest.approx(4 / 36)
    assert agree(BLOB, torch.ones(1, 1)) == pytest.approx(4 / 36)


def test_regions_are_compared_at_the_finer_resolution():
    torch.manual_seed(0)
    a, b = torch.rand(9, 3, 4), torch.rand(9, 7, 8)
    expected = []
    for x, y in zip(large(a, (7, 8)), b, strict=True):
        pairs = list(zip((x >= 0.6 * x.max()).flatten(), (y >= 0.6 * y.max()).flatten(), strict=True))
        expected.append(sum(p and q for p, q in pairs).item() / sum(p or q for p, q in pairs).item())
    assert region_agreement(a, b, 0.6).tolist() == pytest.approx(expected)
    torch.testing.assert_close(region_agreement(b, a, 0.6), region_agreement(a, b, 0.6))


def test_empty_maps_have_no_region():
    nothing = torch.zeros(6, 6)
    first, second = torch.stack([BLOB, nothing, nothing, BLOB]), torch.stack([nothing, BLOB, nothing, BLOB])
    assert region_agreement(first, second).isnan().tolist() == [True, True, True, False]


@pytest.mark.parametrize("agreement", [rank_agreement, region_agreement])
def test_messages(agreement):
    match = r"second must have one map for each of first's, both \(N, h, w\); got \(1, 2, 2\) and \(3, 4, 4\)"
    with pytest.raises(ValueError, match=match):
        agreement(torch.ones(1, 2, 2), torch.ones(3, 4, 4))
