from dataclasses import dataclass

import pytest
import torch

from looksharp.data.sets.synthetic import biased_digits
from looksharp.data.split import Split
from looksharp.data.splits.files import FileSplit
from looksharp.marks.marks import Marks


def test_images_targets_groups_and_masks_stay_together():
    whole = biased_digits(train=12, val=1, test=1).splits["train"]
    places = [7, 2, 9]
    some = whole.taken(places)
    assert len(some) == 3
    assert torch.equal(some.targets, whole.targets[places])
    assert torch.equal(some.images, whole.images[places])
    if whole.groups is not None:
        assert torch.equal(some.groups, whole.groups[places])
    for now, before in enumerate(places):
        (label, mask), (label_before, mask_before) = some.marks.of(now)[0], whole.marks.of(before)[0]
        assert label == label_before
        assert torch.equal(mask, mask_before)


def test_files_and_images_without_masks(tmp_path):
    marks = Marks([0, 2, 2], [1, 0, 1], [torch.full((1, 1), value > 1) for value in range(3)])
    whole = FileSplit(targets=torch.tensor([5, 6, 7]), marks=marks, root=tmp_path, paths=["a", "b", "c"])
    some = whole.taken([2, 1])
    assert (list(some.paths), some.targets.tolist(), some.groups) == (["c", "b"], [7, 6], None)
    assert some.marks.images == [0]
    assert [(label, bool(mask)) for label, mask in some.marks.of(0)] == [(0, False), (1, True)]


def test_a_stream_cannot_be_picked_from():
    @dataclass(kw_only=True)
    class Stream(Split):
        def image(self, index):
            raise NotImplementedError

        def loader(self, batches, pixels, **options):
            raise NotImplementedError

    with pytest.raises(ValueError, match="images of a Stream cannot be picked; give images in memory or in files"):
        Stream(targets=torch.zeros(3)).taken([0])
