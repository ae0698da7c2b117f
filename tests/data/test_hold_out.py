"""Validation images held out once, after reading."""

from collections import Counter
from dataclasses import replace

import pytest
import torch

from looksharp.data.dividing import divide, held_out
from looksharp.data.hold_out import hold_out
from looksharp.data.split import Data, Pixels
from looksharp.data.splits.memory import TensorSplit
from looksharp.marks.marks import Marks


def split(labels, start=0, **options):
    """Images that are told by their first pixel."""
    images = torch.zeros(len(labels), 3, 2, 2, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(start, start + len(labels))
    return TensorSplit(targets=torch.tensor(labels), images=images, **options)


def data_of(**splits):
    return Data("blobs", ("a", "b"), splits, Pixels((2, 2)))


def shown(split):
    return split.images[:, 0, 0, 0].tolist()


LABELS = [0, 1] * 20


def test_a_share_of_each_class_is_held_out_by_seed():
    data = hold_out(data_of(train=split(LABELS), test=split([0, 1], 100)), 0.2, 3)
    assert list(data.splits) == ["train", "val", "test"]
    kept, held = divide(LABELS, (0.8, 0.2), 3)
    assert (shown(data.splits["train"]), shown(data.splits["val"])) == (kept, held)
    assert Counter(data.splits["val"].targets.tolist()) == {0: 4, 1: 4}
    assert shown(hold_out(data_of(train=split(LABELS)), 0.2, 4).splits["val"]) != held


def test_owners_are_held_out_whole():
    owners = [str(place // 4) for place in range(40)]
    data = hold_out(data_of(train=split(LABELS, owners=owners)), 0.3, 1)
    kept, held = held_out(owners, 0.3, 1)
    assert (shown(data.splits["train"]), shown(data.splits["val"])) == (kept, held)
    assert not {owners[place] for place in kept} & {owners[place] for place in held}
    assert data.splits["val"].owners == [owners[place] for place in held]


def test_marks_and_groups_go_with_their_images():
    marks = Marks([3, 8], [1, 0], [torch.full((2, 2), value) for value in (3, 8)])
    data = hold_out(data_of(train=split(LABELS, marks=marks, groups=torch.arange(40))), 0.5, 0)
    found = {}
    for part in ("train", "val"):
        one = data.splits[part]
        assert one.groups.tolist() == shown(one)
        found |= {shown(one)[place]: int(one.marks.of(place)[0][1][0, 0]) for place in one.marks.images}
    assert found == {3: 3, 8: 8}


def test_with_no_share_validation_reads_the_first_test_split():
    data = hold_out(data_of(train=split(LABELS), test_b=split([0, 1], 50), test_a=split([1, 0], 60)), 0)
    assert data.splits["val"] is data.splits["test_b"]
    assert list(data.splits) == ["train", "val", "test_b", "test_a"]
    with pytest.raises(ValueError, match=r"^blobs has neither val nor test; val_share must be above 0$"):
        hold_out(data_of(train=split(LABELS)), 0)


def test_a_validation_split_of_its_own_is_kept():
    data = hold_out(data_of(test=split([0, 1], 60), val=split([0, 1], 50), train=split(LABELS)), 0.5)
    assert list(data.splits) == ["train", "val", "test"]
    assert shown(data.splits["train"]) == list(range(40))
    assert shown(data.splits["val"]) == [50, 51]


def test_an_undivided_set_is_divided_in_three():
    data = hold_out(data_of(all=split(LABELS)), 0.5, 2)
    parts = divide(LABELS, (0.8, 0.1, 0.1), 2)
    assert [shown(split) for split in data.splits.values()] == parts
    assert list(data.splits) == ["train", "val", "test"]


def test_multilabel_images_are_drawn_whatever_their_classes():
    targets = torch.tensor([[1.0, 1.0]] * 10)
    whole = replace(split([0] * 10), targets=targets)
    data = hold_out(data_of(train=whole), 0.3, 0)
    assert len(data.splits["val"]) == 3
    assert sorted(shown(data.splits["train"]) + shown(data.splits["val"])) == list(range(10))
