import math

import pytest
import torch
from torch.nn import functional as F

from looksharp.metrics.scores import at_resolution, region, score_levels, with_objects


def test_plateaus_stay_flat_when_resized():
    torch.manual_seed(0)
    values = torch.rand(200, 1, 1).expand(-1, 3, 4)
    large = at_resolution(values, (11, 13))
    assert (large == values[:, :1, :1]).all()
    noisy = F.interpolate(values.unsqueeze(1), (11, 13), mode="bilinear").squeeze(1)
    assert (noisy != values[:, :1, :1]).any()  # what float32 alone would leave


def test_half_precision_is_resized_in_full():
    torch.manual_seed(0)
    maps = torch.rand(3, 4, 4).half()
    torch.testing.assert_close(at_resolution(maps, (9, 9)), at_resolution(maps.float(), (9, 9)), rtol=0, atol=0)


def test_objects_are_where_more_than_half_is_covered():
    scores, objects = with_objects(torch.ones(1, 1, 1), torch.tensor([[[0.0, 0.5, 0.51, 1]]]))
    assert objects.tolist() == [[[False, False, True, True]]]
    assert scores.shape == (1, 1, 4)


def test_region_reaches_a_share_of_the_maximum():
    maps = torch.tensor([[[1.0, 2, 4, 0]], [[0.0, 0, 0, 0]], [[-3.0, -2, -1, -1]]])
    assert region(maps, 0.5).tolist() == [[[False, True, True, False]], [[False] * 4], [[False] * 4]]
    assert region(maps, 1).sum().item() == 1


def test_levels_are_thresholds_reached():
    torch.manual_seed(0)
    maps = torch.rand(4, 5, 6) * 7 - 3
    found = score_levels(maps, 8)
    for scores, levels in zip(maps, found, strict=True):
        low, high = scores.min().item(), scores.max().item()
        for score, level in zip(scores.flatten().tolist(), levels.flatten().tolist(), strict=True):
            assert level == sum((score - low) / (high - low) >= k / 8 for k in range(1, 9))
    assert found.amax((1, 2)).tolist() == [8] * 4
    assert found.amin((1, 2)).tolist() == [0] * 4


@pytest.mark.parametrize("value", [0.0, 3.7, math.nan, math.inf])
def test_maps_without_a_range_reach_nothing(value):
    assert score_levels(torch.full((1, 2, 3), value), 10).tolist() == [[[0] * 3] * 2]
    spoiled = torch.arange(6.0).view(1, 2, 3)
    spoiled[0, 0, 0] = value
    expected = 10 if math.isfinite(value) else 0
    assert score_levels(spoiled, 10).max() == expected


def test_messages():
    with pytest.raises(ValueError, match=r"masks must be one for each map, .*; got maps \(1, 2, 2\) and masks \(3, 4"):
        with_objects(torch.ones(1, 2, 2), torch.ones(3, 4, 4))  # would broadcast
    with pytest.raises(ValueError, match="levels must be the number of thresholds, at least 1; got 0"):
        score_levels(torch.ones(1, 2, 2), 0)
    for share in (0, 1.5, math.nan):
        with pytest.raises(ValueError, match=f"share must be a share .* above 0 and at most 1; got {share}"):
            region(torch.ones(1, 2, 2), share)
