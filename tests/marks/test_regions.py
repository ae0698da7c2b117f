import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from looksharp.data.marked import choose_marked
from looksharp.data.split import Data, Pixels
from looksharp.data.splits.files import FileSplit
from looksharp.marks.marks import Marks
from looksharp.marks.regions import Boxes, ClassMask, Discs, MadeMasks, MaskFile, box_regions, check_fit

SIZE = (5, 7)


def centres(size=SIZE):
    return [(row, column, row + 0.5, column + 0.5) for row in range(size[0]) for column in range(size[1])]


def test_boxes_hold_the_pixels_whose_centre_they_hold():
    boxes = ((1.0, 0.0, 3.0, 2.0), (2.4, 1.6, 5.6, 9.0), (-4.0, 4.0, 0.6, 5.0))
    mask = Boxes(SIZE, boxes).mask()
    for row, column, y, x in centres():
        inside = any(left <= x < right and top <= y < bottom for left, top, right, bottom in boxes)
        assert mask[row, column] == inside
    assert mask.shape == SIZE


def test_discs_hold_the_pixels_that_are_near():
    points = ((1.0, 1.0), (6.5, 4.5), (3.0, 9.0))
    mask = Discs(SIZE, points, 1.6).mask()
    for row, column, y, x in centres():
        assert mask[row, column] == any((x - px) ** 2 + (y - py) ** 2 <= 1.6**2 for px, py in points)
    assert mask.sum() == 8 + 4  # 3 x 3 pixels but the farthest, 2 x 2 in the corner; the third lies below the image


def test_mask_files_and_classes(tmp_path):
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(tmp_path / "image.png")
    grey = np.full(SIZE, 102, np.uint8)
    grey[1] = 153
    Image.fromarray(grey).save(tmp_path / "grey.png")
    indices = np.zeros(SIZE, np.uint8)
    indices[0, :3], indices[2], indices[4] = 7, 3, 255
    Image.fromarray(indices).save(tmp_path / "classes.png")
    assert np.array_equal(MaskFile(tmp_path / "grey.png").mask(), grey == 153)
    for index in (3, 7):
        assert np.array_equal(ClassMask(tmp_path / "classes.png", index).mask(), indices == index)
    check_fit(tmp_path / "grey.png", SIZE, tmp_path / "image.png")
    with pytest.raises(ValueError, match=r"grey\.png has 4x7 pixels \(height x width\), but .*image\.png has 5x7$"):
        check_fit(tmp_path / "grey.png", (4, 7), tmp_path / "image.png")


@pytest.fixture
def pairs():
    boxes = [Boxes(SIZE, ((float(n), 0.0, n + 1.0, 2.0), (0.0, n, 1.0, n + 1.0))) for n in range(4)]
    return Marks([0, 2, 2, 5], [1, 0, 1, 1], MadeMasks(boxes))


def test_pairs_of_made_masks_are_those_of_masks(pairs):
    held = Marks(pairs.samples, pairs.labels, list(pairs.masks))
    assert all(mask.dtype == torch.bool and mask.shape == SIZE for mask in held.masks)
    for made, kept in (
        (pairs, held),
        (pairs.restricted([5, 2]), held.restricted([5, 2])),
        (pairs.as_boxes(), held.as_boxes()),
        (pairs.taken([3, 0]).as_boxes(), held.taken([3, 0]).as_boxes()),
    ):
        assert isinstance(made.masks, MadeMasks)
        assert (made.samples, made.labels) == (kept.samples, kept.labels)
        assert torch.equal(torch.stack(list(made.masks)), torch.stack(list(kept.masks)))
    assert torch.equal(torch.stack(list(pairs.masks[1:3])), torch.stack(held.masks[1:3]))
    assert len(pickle.loads(pickle.dumps(pairs)).masks) == 4  # as processes that read files need


def test_guidance_is_chosen_without_making_masks(pairs, tmp_path, draw):
    draw(tmp_path / "0.png", SIZE)
    split = FileSplit(targets=torch.ones(6).long(), marks=pairs, root=tmp_path, paths=["0.png"] * 6)
    data = Data("set", ("a", "b"), {"train": split, "val": split}, Pixels(SIZE))

    class Choice:
        marks, marked, marked_classes, mark_boxes = "data", 2, ["b"], True
        marks_orientation, mark_crowds = "upright", False

    train = choose_marked(data, Choice(), seed=0).splits["train"]
    assert isinstance(train.marks.masks, MadeMasks)
    assert len(train.marks) == 2
    assert set(train.marks.labels) == {1}
    (batch,) = train.loader([[*range(6)]], data.pixels)
    assert torch.equal(batch.marks.mask.bool(), torch.stack(list(train.marks.masks)))


def test_boxes_are_checked_when_they_are_read(tmp_path, draw):
    for name in "abc":
        draw(tmp_path / f"{name}.png", SIZE)
    boxes = {"a.png": [(1, 1, 3, 9)], "b.png": [(2, 2, 2, 4), (0, 0, 1, 1)], "c.png": [(3, 3, 1, 4)]}
    regions, notes = box_regions(tmp_path, boxes, tmp_path / "boxes.txt")
    assert regions == {"a.png": Boxes(SIZE, ((1, 1, 3, 9),)), "b.png": Boxes(SIZE, ((0, 0, 1, 1),))}
    assert notes == {"clipped to the image": 1, "empty box": 2}
    with pytest.raises(ValueError, match=r"boxes\.txt: the box of a\.png lies wholly outside the image a\.png of 5x7"):
        box_regions(tmp_path, {"a.png": [(7, 0, 9, 2)]}, tmp_path / "boxes.txt")
    with pytest.raises(ValueError, match=r"/d\.png cannot be read as an image: "):
        box_regions(tmp_path, {"d.png": [(0, 0, 1, 1)]}, tmp_path / "boxes.txt")
