import pytest
import torch
from torch.nn import functional as F

from looksharp.metrics.localisation import MapIoU, PointingGame, attention_inside, map_iou, pointing_game, size_groups
from looksharp.objectives.equations import guidance_energy

MASK = torch.zeros(12, 12)
MASK[3:9, 2:7] = 1


def inside(attention, mask=MASK):
    (value,) = attention_inside(attention[None], mask[None]).tolist()
    return value


def test_perfect_and_inverted():
    assert inside(MASK) == 1
    assert inside(1 - MASK) == 0


def test_uniform_is_the_masks_area():
    share = 30 / 144
    assert inside(torch.full((12, 12), 0.3)) == pytest.approx(share)
    assert inside(torch.full((1, 1), 7.0)) == pytest.approx(share)
    assert inside(torch.full((3, 5), 7.0)) == pytest.approx(share)


def test_nowhere_is_not_a_number():
    assert torch.isnan(attention_inside(torch.zeros(1, 3, 3), MASK[None])).all()
    assert inside(torch.ones(3, 3), torch.zeros(12, 12)) == 0
    found = attention_inside(torch.stack([torch.zeros(12, 12), MASK]), MASK.expand(2, -1, -1))
    assert found.isnan().tolist() == [True, False]  # it spoils no other


def test_scale_does_not_matter():
    torch.manual_seed(0)
    attention = torch.rand(5, 5)
    assert inside(attention) == pytest.approx(inside(attention * 1e4), rel=1e-6)
    assert inside(attention) == pytest.approx(inside(attention * 1e-12), rel=1e-6)


def test_coarse_maps_are_measured_at_the_masks_resolution():
    torch.manual_seed(0)
    maps, masks = torch.rand(6, 4, 3), torch.rand(6, 9, 11).round()
    expected = []
    for attention, mask in zip(maps, masks, strict=True):
        large = F.interpolate(attention[None, None], (9, 11), mode="bilinear", align_corners=False)[0, 0]
        expected.append(sum(large[i, j] for i, j in mask.nonzero().tolist()) / large.sum())
    torch.testing.assert_close(attention_inside(maps, masks), torch.stack(expected))


def test_it_is_the_complement_of_guidance_energy():
    torch.manual_seed(0)
    maps, masks = torch.rand(6, 7, 7), torch.rand(6, 7, 7)
    torch.testing.assert_close(attention_inside(maps, masks), 1 - guidance_energy(maps, masks))


def points(attention, mask=MASK, tolerance=0):
    (value,) = pointing_game(attention[None], mask[None], tolerance).tolist()
    return value


def spot(*places):
    attention = torch.zeros(12, 12)
    for place in places:
        attention[place] = 1
    return attention


def test_pointing_perfect_inverted_uniform_and_empty():
    assert points(MASK) == 1
    assert points(1 - MASK) == 0
    for flat in (torch.full((12, 12), 0.3), torch.full((3, 5), 0.3), torch.full((1, 1), 7.0)):
        assert points(flat) == pytest.approx(30 / 144)  # any pixel could be chosen
    found = pointing_game(torch.stack([torch.zeros(12, 12), MASK]), MASK.expand(2, -1, -1))
    assert found.isnan().tolist() == [True, False]
    assert points(MASK, torch.zeros(12, 12)) == 0


def test_pointing_looks_at_the_maximum_alone():
    attention = 0.99 * (1 - MASK)
    attention[5, 4] = 1
    assert points(attention) == 1
    assert inside(attention) < 0.02
    assert points(spot((3, 2), (0, 0), (11, 11))) == pytest.approx(1 / 3)


def test_pointing_tolerates_a_distance():
    # The mask's rows are 3 to 8, its columns 2 to 6.
    assert points(spot((3, 9)), tolerance=2.9) == 0
    assert points(spot((3, 9)), tolerance=3) == 1
    assert points(spot((0, 10)), tolerance=4.9) == 0  # 3 rows and 4 columns away
    assert points(spot((0, 10)), tolerance=5) == 1
    assert points(spot((11, 11)), tolerance=15) == 1


def test_pointing_is_that_of_a_loop():
    torch.manual_seed(0)
    maps, masks = torch.rand(20, 4, 3), (torch.rand(20, 10, 13) > 0.97).float()
    maps = torch.where(maps < 0.5, maps, maps.round())  # some ties
    large = F.interpolate(maps[:, None].double(), (10, 13), mode="bilinear", align_corners=False)[:, 0].float()
    for tolerance in (0, 1.5, 3):
        expected = []
        for attention, mask in zip(large, masks, strict=True):
            peaks, pixels = (attention == attention.max()).nonzero(), mask.nonzero()
            near = [any((peak - pixel).square().sum() <= tolerance**2 for pixel in pixels) for peak in peaks]
            expected.append(sum(near) / len(near))
        assert len(set(expected)) > 2
        assert pointing_game(maps, masks, tolerance).tolist() == pytest.approx(expected)


def iou(attention, mask=MASK, share=0.2):
    (value,) = map_iou(attention[None], mask[None], share).tolist()
    return value


def test_iou_perfect_inverted_uniform_and_empty():
    assert iou(MASK) == 1
    assert iou(1 - MASK) == 0
    assert iou(torch.full((12, 12), 0.3)) == pytest.approx(30 / 144)
    assert iou(torch.full((3, 5), 0.3)) == pytest.approx(30 / 144)
    found = map_iou(torch.stack([torch.zeros(12, 12), MASK]), MASK.expand(2, -1, -1))
    assert found.isnan().tolist() == [True, False]
    assert iou(MASK, torch.zeros(12, 12)) == 0


def test_iou_by_hand():
    attention = torch.zeros(12, 12)
    attention[3:9, 2:4] = 10  # 12 pixels inside
    attention[3:9, 4:7] = 4  # 18 inside
    attention[0] = 2  # 12 outside
    assert iou(attention, share=0.5) == pytest.approx(12 / 30)
    assert iou(attention, share=0.4) == 1
    assert iou(attention, share=0.2) == pytest.approx(30 / 42)
    assert iou(1e-9 * attention, share=0.2) == pytest.approx(30 / 42)


def test_iou_is_measured_at_the_masks_resolution():
    torch.manual_seed(0)
    maps, masks = torch.rand(6, 4, 3), torch.rand(6, 9, 11)
    large = F.interpolate(maps[:, None], (9, 11), mode="bilinear", align_corners=False)[:, 0]
    expected = []
    for attention, mask in zip(large, masks, strict=True):
        pairs = [
            (a >= 0.6 * attention.max(), m > 0.5) for a, m in zip(attention.flatten(), mask.flatten(), strict=True)
        ]
        expected.append(sum(a and m for a, m in pairs).item() / sum(a or m for a, m in pairs).item())
    assert map_iou(maps, masks, 0.6).tolist() == pytest.approx(expected)


def test_sizes_are_shares_of_the_image():
    masks = torch.zeros(5, 10, 10)
    for mask, pixels in zip(masks, (0, 9, 10, 24, 25), strict=True):
        mask.view(-1)[:pixels] = 1
    assert size_groups(masks).tolist() == [0, 0, 1, 1, 2]
    assert size_groups(F.interpolate(masks[:, None], (40, 30)).squeeze(1)).tolist() == [0, 0, 1, 1, 2]
    assert size_groups(0.5 * masks).tolist() == [0, 0, 0, 1, 1]
    terciles = torch.tensor([0.0, 9, 10, 24, 25]).quantile(torch.tensor([1 / 3, 2 / 3])) / 100
    assert size_groups(masks, tuple(terciles.tolist())).bincount().tolist() == [2, 1, 2]


def test_metrics_have_their_options():
    attention = spot((3, 9)) + 0.25 * MASK
    options = (
        (PointingGame(), 0),
        (PointingGame(2), 0),
        (PointingGame(3), 1),
        (MapIoU(), 30 / 31),
        (MapIoU(0.25), 30 / 31),
        (MapIoU(0.3), 0),
    )
    for metric, expected in options:
        metric.update(attention[None], MASK[None])
        assert metric.compute().overall.item() == pytest.approx(expected)


def test_messages():
    with pytest.raises(ValueError, match="tolerance must be a number of pixels, 0 or more; got -1"):
        points(MASK, tolerance=-1)
    with pytest.raises(ValueError, match=r"edges must ascend; got 0.3, 0.1"):
        size_groups(MASK[None], (0.3, 0.1))
    for measure in (pointing_game, map_iou):
        with pytest.raises(
            ValueError, match=r"masks must be one for each map, .*; got maps \(1, 2, 2\) and masks \(3,"
        ):
            measure(torch.ones(1, 2, 2), torch.ones(3, 4, 4))
