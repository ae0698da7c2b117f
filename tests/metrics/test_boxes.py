import pytest
import torch
from torch.nn import functional as F
from torchvision.ops import box_iou, masks_to_boxes

from looksharp.metrics.boxes import MaxBoxAcc, MaxBoxAccV2, box_overlaps, part_boxes
from looksharp.metrics.scores import at_resolution, score_levels


def draw(*boxes, size=(20, 24)):
    mask = torch.zeros(size)
    for left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = 1
    return mask


def flood(region):
    """Connected parts of one region as sets of (row, column), by flood filling."""
    left = {tuple(place) for place in region.nonzero().tolist()}
    while left:
        part, front = set(), [min(left)]
        while front:
            place = front.pop()
            if place in left:
                left.remove(place)
                part.add(place)
                front += [(place[0] + i, place[1] + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        yield part


def around(part):
    rows, columns = zip(*part, strict=True)
    return [min(columns), min(rows), max(columns) + 1, max(rows) + 1]


def iou(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def best(attention, objects, levels, largest):
    """The best overlap of a box at each threshold, in loops."""
    found = []
    reached = score_levels(at_resolution(attention[None], (20, 24)), levels)[0]
    for level in range(1, levels + 1):
        parts = list(flood(reached >= level))
        if largest:
            parts = [part for part in parts if len(part) == max(map(len, parts))]
        found.append(max((iou(around(part), box) for part in parts for box in objects), default=0))
    return found


def test_parts_are_those_of_flood_filling():
    torch.manual_seed(0)
    regions = torch.rand(12, 9, 11) > torch.linspace(0.3, 0.9, 12).view(12, 1, 1)
    regions[3] = False
    regions[4] = True
    boxes, index, sizes = part_boxes(regions)
    assert index.tolist() == sorted(index.tolist())
    for number, region in enumerate(regions):
        expected = sorted([*around(part), len(part)] for part in flood(region))
        chosen = index == number
        assert sorted(torch.cat([boxes[chosen], sizes[chosen, None]], 1).tolist()) == expected
    assert boxes[index == 4].tolist() == [[0, 0, 11, 9]]


def test_boxes_agree_with_torchvisions():
    torch.manual_seed(0)
    masks = torch.rand(30, 20, 24) > 0.99
    masks[:, 5, 7] = True
    truth = masks_to_boxes(masks) + torch.tensor([0, 0, 1, 1])  # its edges are the last pixels themselves
    maps = torch.rand(30, 3, 4)
    reached = score_levels(at_resolution(maps, (20, 24)), 50) >= 1  # all but the lowest places: one part
    assert len(part_boxes(reached)[0]) == 30
    found = box_overlaps(maps, masks.float(), 50)[:, 0]
    expected = box_iou(masks_to_boxes(reached) + torch.tensor([0, 0, 1, 1]), truth).diag()
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("largest", [False, True])
def test_overlaps_are_those_of_loops(largest):
    torch.manual_seed(0)
    maps = torch.rand(6, 5, 6)
    objects = [
        [[2, 3, 9, 12]],
        [[0, 0, 24, 20]],
        [[20, 1, 24, 3]],
        [[5, 5, 12, 18], [14, 2, 20, 8]],
        [],
        [[9, 9, 10, 10]],
    ]
    masks = torch.stack([torch.stack([draw(*boxes[:1]), draw(*boxes[1:])]) for boxes in objects])
    found = box_overlaps(maps, masks, 9, largest=largest)
    expected = torch.tensor([best(m, boxes, 9, largest) for m, boxes in zip(maps, objects, strict=True)])
    torch.testing.assert_close(found, expected)
    assert (found[4] == 0).all()
    assert found.unique().numel() > 15


def test_chunks_do_not_matter(monkeypatch):
    torch.manual_seed(0)
    maps, masks = torch.rand(7, 4, 4), (torch.rand(7, 20, 24) > 0.9).float()
    whole = box_overlaps(maps, masks, 5, split=True)
    monkeypatch.setattr("looksharp.metrics.boxes._PIXELS", 5 * 20 * 24 * 3)  # three maps at once
    assert torch.equal(box_overlaps(maps, masks, 5, split=True), whole)
    monkeypatch.setattr("looksharp.metrics.boxes._PIXELS", 1)
    assert torch.equal(box_overlaps(maps, masks, 5, split=True), whole)


def test_split_takes_the_parts_of_a_mask_for_objects():
    first, second = (1, 2, 6, 9), (12, 4, 20, 16)
    both = draw(first, second)
    apart = torch.stack([draw(first), draw(second)])
    maps = torch.stack([draw(second)])
    assert box_overlaps(maps, both[None], 4).unique().item() == pytest.approx(iou(second, (1, 2, 20, 16)))
    assert (box_overlaps(maps, both[None], 4, split=True) == 1).all()
    assert (box_overlaps(maps, apart[None], 4) == 1).all()
    torch.manual_seed(0)
    maps = torch.rand(9, 4, 4)
    torch.testing.assert_close(
        box_overlaps(maps, both.expand(9, -1, -1), 7, split=True), box_overlaps(maps, apart.expand(9, -1, -1, -1), 7)
    )


def test_the_largest_part_has_the_most_pixels():
    ring = draw((0, 0, 12, 12))
    ring[1:11, 1:11] = 0  # a large box of 44 pixels
    disc = draw((14, 4, 23, 10))  # a small box of 54
    maps = torch.maximum(ring, disc)[None]
    assert (box_overlaps(maps, disc[None], 3, largest=True) == 1).all()
    assert (box_overlaps(maps, ring[None], 3, largest=True) == 0).all()
    assert (box_overlaps(maps, ring[None], 3) == 1).all()


def accuracy(metric, maps, masks):
    metric.update(torch.stack(maps), torch.stack(masks))
    return metric.compute().overall.item()


@pytest.mark.parametrize("metric", [MaxBoxAcc, MaxBoxAccV2])
def test_perfect_inverted_uniform_and_empty(metric):
    mask = draw((6, 5, 12, 11))
    assert accuracy(metric(), [mask], [mask]) == 1
    assert accuracy(metric(), [torch.zeros(5, 6)], [mask]) == 0
    assert accuracy(metric(), [torch.full((5, 6), 0.3)], [mask]) == 0
    assert accuracy(metric(), [1 - mask], [mask]) == 0  # its box is the whole image, 480 pixels for the object's 36
    assert accuracy(metric(), [mask], [torch.zeros(20, 24)]) == 0
    assert accuracy(metric(), [mask, torch.zeros(20, 24)], [mask, mask]) == 0.5  # counted, as a miss


def test_the_threshold_suits_the_data_set_not_each_map():
    mask = draw((0, 0, 10, 10))
    core = draw((0, 0, 4, 10))
    low, high = 0.2 * mask + 0.8 * core, 0.5 * draw((0, 0, 20, 20)) + 0.5 * mask
    # One map is right up to .2, the other above .5.
    assert accuracy(MaxBoxAcc(), [low], [mask]) == 1
    assert accuracy(MaxBoxAcc(), [high], [mask]) == 1
    assert accuracy(MaxBoxAcc(), [low, high], [mask, mask]) == 0.5
    metric = MaxBoxAcc(groups={"kind": 2})
    metric.update(torch.stack([low, high]), torch.stack([mask, mask]), kind=torch.tensor([0, 1]))
    assert metric.compute().groups["kind"].tolist() == [1, 1]  # a group's threshold is its own


def test_version_two_averages_over_three_overlaps():
    mask = draw((0, 0, 10, 10))
    maps = [draw((0, 0, 10, height)) for height in (2, 3, 5, 6, 7)]  # overlaps of .2, .3, .5, .6 and .7, exact
    assert accuracy(MaxBoxAccV2(), maps, [mask] * 5) == pytest.approx((4 / 5 + 3 / 5 + 1 / 5) / 3)
    assert accuracy(MaxBoxAcc(), maps, [mask] * 5) == pytest.approx(3 / 5)


def test_version_two_may_choose_a_smaller_part():
    mask = draw((0, 0, 5, 5))
    attention = torch.maximum(mask, draw((10, 8, 20, 18)))
    assert accuracy(MaxBoxAcc(), [attention], [mask]) == 0
    assert accuracy(MaxBoxAccV2(), [attention], [mask]) == 1


def official_boxes(reached, level, largest):
    """What the authors' code draws: OpenCV's outer contours, the largest by its polygon's area."""
    cv2 = pytest.importorskip("cv2")
    contours = cv2.findContours((reached >= level).byte().numpy(), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
    if largest and contours:
        contours = [max(contours, key=cv2.contourArea)]
    return [(x, y, x + w, y + h) for x, y, w, h in map(cv2.boundingRect, contours)]


@pytest.mark.parametrize("largest", [False, True])
def test_boxes_agree_with_opencvs_contours_on_smooth_maps(largest):
    torch.manual_seed(0)
    maps = F.interpolate(torch.rand(8, 1, 3, 3), (7, 7), mode="bicubic").squeeze(1)
    objects = [[4 + i, 6, 15, 12 + i] for i in range(8)]
    masks = torch.stack([draw(box, size=(56, 56)) for box in objects])
    reached = score_levels(at_resolution(maps, (56, 56)), 255)
    found = box_overlaps(maps, masks, 255, largest=largest)
    checked = 0
    for number in range(8):
        for level in range(1, 256, 6):
            parts = [len(part) for part in flood(reached[number] >= level)]
            if largest and len(parts) > 1:
                continue  # the two areas may order parts differently
            boxes = official_boxes(reached[number], level, largest)
            expected = max(iou(box, objects[number]) for box in boxes)
            assert found[number, level - 1].item() == pytest.approx(expected, abs=1e-6)
            checked += 1
    assert checked > 150


def test_messages():
    match = r"masks must be one for each map, or several, .*; got maps \(1, 2, 2\) and masks \(3, 4, 4\)"
    with pytest.raises(ValueError, match=match):
        box_overlaps(torch.ones(1, 2, 2), torch.ones(3, 4, 4))
    with pytest.raises(ValueError, match="levels must be the number of thresholds, at least 1; got 0"):
        box_overlaps(torch.ones(1, 2, 2), torch.ones(1, 4, 4), 0)
