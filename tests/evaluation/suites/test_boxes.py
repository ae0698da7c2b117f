import math
from dataclasses import replace

import pytest
import torch

from looksharp.evaluation import evaluate
from looksharp.marks.marks import Marks
from looksharp.metrics.boxes import box_overlaps


def test_boxes_object_by_object(model, split, data):
    """The best box at every threshold, from each image's own map; then the best threshold for the data set."""
    from looksharp import attend, resize_maps

    def class_map(index, label):
        image = data.pixels.normalize(split.images[index : index + 1])
        (maps,) = attend(model, image, torch.tensor([label])).maps.values()
        return maps[:, 0]

    masks = torch.stack(list(split.marks.masks))
    masks[::6, ::2] = False  # so that some are small
    evidence = resize_maps(class_map(1, split.marks.labels[1])[:, None], (48, 48))[0, 0]
    masks[1] = evidence > evidence.max() / 2  # so that a box fits
    split = replace(split, marks=Marks(split.marks.samples, split.marks.labels, masks))
    rows = []
    for index in range(24):
        label, mask = split.marks.of(index)[0]
        maps = class_map(index, label)
        largest, best = (box_overlaps(maps, mask[None].float(), largest=only)[0] for only in (True, False))
        rows.append((label, mask.float().mean().item(), largest, best))

    def accuracy(chosen):
        largest, best = (torch.stack([row[place] for row in chosen]) for place in (2, 3))
        first = max((largest >= 0.5).double().mean(0).tolist())
        levels = [max((best >= fit).double().mean(0).tolist()) for fit in (0.3, 0.5, 0.7)]
        return first, sum(levels) / 3

    found = evaluate(model, split, data.pixels, suites=["boxes"], batch_size=5)
    assert [found.values["max_box_acc"], found.values["max_box_acc_v2"]] == pytest.approx(accuracy(rows))
    for label in range(10):
        own = [row for row in rows if row[0] == label]
        column = [found.tables["per_class"][name][label] for name in ("max_box_acc", "max_box_acc_v2")]
        assert found.tables["per_class"]["objects"][label] == len(own)
        assert column == (pytest.approx(accuracy(own)) if own else [None, None])
    small = [row for row in rows if row[1] < 0.1]
    assert 0 < len(small) < 24
    assert found.tables["by_size"]["max_box_acc_v2"][0] == pytest.approx(accuracy(small)[1])
    assert sum(found.tables["by_size"]["objects"]) == 24
    assert found.values["max_box_acc"] > 0
    assert found.per_image == {}  # the best threshold is one of all images


def test_without_objects_there_is_nothing(model, split, data):
    found = evaluate(model, replace(split, marks=None), data.pixels, suites=["boxes"])
    assert found.values == found.tables == {}


def test_sizes_are_shares_of_the_image(model, split, data):
    masks = torch.zeros(3, 48, 48, dtype=torch.bool)
    masks[0, :9, :24] = True  # 9.4%
    masks[1, :12, :24] = True  # 12.5%
    masks[2, :24, :24] = True  # 25%, which is large
    labelled = replace(split, marks=Marks([0, 1, 2], split.targets[:3].tolist(), masks))
    found = evaluate(model, labelled, data.pixels, suites=["attention"])
    assert found.tables["by_size"]["objects"] == [1, 1, 1]
    column = found.per_image["attention_inside"][:3].tolist()
    assert found.tables["by_size"]["attention_inside"] == [
        None if math.isnan(value) else pytest.approx(value) for value in column
    ]
