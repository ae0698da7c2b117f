import pytest
import torch

from looksharp.data.sets.synthetic import digits
from looksharp.data.split import Data, Pixels
from looksharp.data.splits.memory import TensorSplit
from looksharp.marks.marks import Marks, boxes_of


def masks(*filled, size=(5, 6)):
    """One mask for each list of (row, column)."""
    made = torch.zeros(len(filled), *size, dtype=torch.bool)
    for mask, places in zip(made, filled, strict=True):
        for place in places:
            mask[place] = True
    return made


def split(images=3, targets=None, marks=None):
    targets = torch.zeros(images, dtype=torch.int64) if targets is None else targets
    return TensorSplit(targets=targets, marks=marks, images=torch.zeros(images, 3, 4, 4, dtype=torch.uint8))


def test_normalising_is_per_channel_and_has_an_inverse():
    pixels = Pixels((2, 3), mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 2.0))
    images = torch.arange(2 * 3 * 2 * 3, dtype=torch.uint8).reshape(2, 3, 2, 3) * 7
    normalised = pixels.normalize(images)
    for n in range(2):
        for channel in range(3):
            for row in range(2):
                for column in range(3):
                    value = images[n, channel, row, column].item() / 255
                    want = (value - pixels.mean[channel]) / pixels.std[channel]
                    assert normalised[n, channel, row, column].item() == pytest.approx(want, abs=1e-6)
    torch.testing.assert_close(pixels.denormalize(normalised), images / 255)
    torch.testing.assert_close(pixels.normalize(images[0]), normalised[0])  # without a batch too


def test_denormalised_colours_stay_colours():
    pixels = Pixels((1, 1))
    assert pixels.denormalize(torch.full((3, 1, 1), 99.0)).tolist() == [[[1.0]]] * 3
    assert pixels.denormalize(torch.full((3, 1, 1), -99.0)).tolist() == [[[0.0]]] * 3


def test_pairs_are_found_by_image():
    drawn = masks([(0, 0)], [(1, 1)], [(2, 2)], [(3, 3)])
    marks = Marks([7, 2, 7, 4], [0, 1, 2, 3], drawn)
    assert len(marks) == 4
    assert marks.images == [2, 4, 7]
    assert [(label, mask.nonzero().tolist()) for label, mask in marks.of(7)] == [(0, [[0, 0]]), (2, [[2, 2]])]
    assert marks.of(3) == []
    few = marks.restricted([4, 7, 5])
    assert (few.images, sorted(few.labels)) == ([4, 7], [0, 2, 3])
    for image in (4, 7):
        for (label, mask), (want_label, want) in zip(few.of(image), marks.of(image), strict=True):
            assert label == want_label
            assert torch.equal(mask, want)


def test_pairs_must_be_of_one_length():
    with pytest.raises(ValueError, match=r"^samples, labels and masks must be of one length; got 2, 1, 1$"):
        Marks([0, 1], [0], masks([(0, 0)]))


def test_a_box_is_the_smallest_filled_rectangle():
    drawn = [*masks([(1, 2), (3, 1)], [(4, 5)], [], [(0, 0), (4, 5)]), *masks([(1, 0), (0, 6)], size=(2, 7))]
    for mask, box in zip(drawn, boxes_of(drawn), strict=True):
        places = mask.nonzero().tolist()
        assert box.dtype == torch.bool
        for row in range(mask.shape[0]):
            for column in range(mask.shape[1]):
                rows, columns = [r for r, _ in places], [c for _, c in places]
                inside = bool(places) and min(rows) <= row <= max(rows) and min(columns) <= column <= max(columns)
                assert box[row, column].item() == inside


def test_boxes_leave_the_pairs_and_the_masks_as_they_were():
    drawn = masks([(1, 2), (3, 1)], [(0, 0)])
    marks = Marks([3, 1], [0, 1], drawn.clone())
    boxed = marks.as_boxes()
    assert (boxed.samples, boxed.labels) == (marks.samples, marks.labels)
    assert boxed.of(3)[0][1].sum() == 6
    assert torch.equal(torch.stack(list(marks.masks)), drawn)


def test_what_is_reported_on():
    splits = {"train": split(), "val": split(), "test_b": split(), "test_a": split()}
    assert list(Data("d", ("a", "b"), splits, Pixels((4, 4))).tests) == ["test_b", "test_a"]
    only = {name: splits[name] for name in ("train", "val")}
    assert Data("d", ("a", "b"), only, Pixels((4, 4))).tests == {"val": splits["val"]}


def test_what_is_tested_is_chosen():
    data = digits(train=20, val=10, test=11)
    assert list(data.testing("train").tests) == ["train"]
    few = data.testing(images=3)
    assert torch.equal(few.tests["test"].targets, data.splits["test"].targets[[0, 5, 10]])  # both ends and the middle
    assert torch.equal(few.tests["test"].images, data.splits["test"].images[[0, 5, 10]])
    assert list(few.testing("val").tests) == ["val"]
    assert len(data.testing(images=500).tests["test"]) == 11
    with pytest.raises(ValueError, match="split must be one of train, val, test; got 'tset'"):
        data.testing("tset")


def test_several_labels_are_seen_in_the_targets():
    multi_hot = split(targets=torch.zeros(3, 2))
    assert Data("d", ("a", "b"), {"train": multi_hot}, Pixels((4, 4))).multilabel
    assert not Data("d", ("a", "b"), {"train": split()}, Pixels((4, 4))).multilabel
    assert len(multi_hot) == 3
