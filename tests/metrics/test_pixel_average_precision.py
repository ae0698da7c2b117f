import pytest
import torch
from sklearn.metrics import average_precision_score
from torch.nn import functional as F

from looksharp.metrics.pixel_average_precision import (
    PixelAveragePrecision,
    histogram_average_precision,
    pixel_histograms,
)
from looksharp.metrics.scores import at_resolution, score_levels

MASK = torch.zeros(12, 10)
MASK[3:9, 2:7] = 1


def precision(attention, mask=MASK, levels=1000):
    return histogram_average_precision(pixel_histograms(attention[None], mask[None], levels)).item()


def overall(maps, masks, levels=1000):
    metric = PixelAveragePrecision(levels)
    metric.update(maps, masks)
    return metric.compute().overall.item()


def test_perfect_inverted_uniform_and_empty():
    share = 30 / 120
    assert precision(MASK) == 1
    assert precision(1 - MASK) == pytest.approx(share)  # reached only with all pixels
    for flat in (torch.full((3, 4), 0.3), torch.zeros(3, 4), torch.full((1, 1), 7.0)):
        assert precision(flat) == pytest.approx(share)


def test_chance_is_the_masks_area():
    torch.manual_seed(0)
    mask = torch.zeros(200, 200)
    mask[:50] = 1
    assert precision(torch.rand(200, 200), mask) == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("levels", [7, 1000])
def test_it_is_scikit_learns_average_precision_of_the_levels(levels):
    torch.manual_seed(0)
    maps, masks = torch.rand(6, 4, 3).pow(2), (torch.rand(6, 9, 11) > 0.7).float()
    scores = score_levels(at_resolution(maps, (9, 11)), levels)
    found = histogram_average_precision(pixel_histograms(maps, masks, levels))
    expected = [average_precision_score(m.flatten(), s.flatten()) for m, s in zip(masks, scores, strict=True)]
    assert found.tolist() == pytest.approx(expected)
    pooled = average_precision_score(masks.flatten(), scores.flatten())
    assert overall(maps, masks, levels) == pytest.approx(pooled)
    assert abs(pooled - sum(expected) / 6) > 1e-3  # not the same thing


def test_a_thousand_levels_are_enough():
    torch.manual_seed(0)
    maps, masks = torch.rand(6, 7, 7), (torch.rand(6, 5, 5) > 0.6).float()
    masks = F.interpolate(masks[:, None], (112, 112)).squeeze(1)
    scores = at_resolution(maps, (112, 112))
    low, high = scores.amin((1, 2), True), scores.amax((1, 2), True)
    exact = average_precision_score(masks.flatten(), ((scores - low) / (high - low)).flatten())
    assert overall(maps, masks) == pytest.approx(exact, abs=1e-3)


def test_histograms_count_every_pixel_once():
    torch.manual_seed(0)
    maps, masks = torch.rand(5, 4, 4) * torch.tensor([1, 0, 3, 1e-6, 1e6]).view(5, 1, 1), torch.rand(5, 8, 9)
    found = pixel_histograms(maps, masks, 10)
    assert found.shape == (5, 2, 11)
    assert torch.equal(found[:, 1].sum(1), (masks > 0.5).sum((1, 2)))
    assert torch.equal(found[:, 0].sum(1), (masks <= 0.5).sum((1, 2)))
    assert (found[:, :, -1].sum(1) > 0).tolist() == [True, False, True, True, True]
    for index in range(5):  # no sample's pixels are counted for another
        alone = pixel_histograms(maps[index : index + 1], masks[index : index + 1], 10)
        assert torch.equal(found[index], alone[0])


def test_without_an_object_there_is_no_precision():
    assert torch.isnan(torch.tensor(precision(MASK, torch.zeros(12, 10))))
    maps, masks = torch.stack([MASK, MASK]), torch.stack([MASK, torch.zeros(12, 10)])
    assert overall(maps, masks) == pytest.approx(0.5)  # as many of its pixels are wrong as the other's are right


def test_memory_is_bounded():
    torch.manual_seed(0)
    metric = PixelAveragePrecision(levels=20)
    sizes = []
    for _ in range(3):
        metric.update(torch.rand(4, 5, 5), torch.rand(4, 30, 30))
        sizes.append(metric.total.numel())
    assert sizes == [42] * 3


def test_messages():
    with pytest.raises(ValueError, match="masks must be one for each map"):
        pixel_histograms(torch.ones(1, 2, 2), torch.ones(3, 4, 4))
    with pytest.raises(ValueError, match="levels must be the number of thresholds, at least 1; got 0"):
        pixel_histograms(torch.ones(1, 2, 2), torch.ones(1, 4, 4), 0)
