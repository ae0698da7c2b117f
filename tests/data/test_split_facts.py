"""What every split says of its images: names, sizes, where they are, and a fingerprint."""

import numpy as np
import pytest
import torch
from PIL import Image

from looksharp.data.crops import CroppedSplit
from looksharp.data.splits.files import FileSplit
from looksharp.data.splits.memory import TensorSplit
from looksharp.data.splits.stream import StreamSplit
from looksharp.marks.marks import Marks

SIZES = [(6, 8), (9, 5), (7, 7)]


def pictures(root):
    rng = np.random.default_rng(0)
    for number, size in enumerate(SIZES):
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(root / f"{number}.png")
    return [f"{number}.png" for number in range(len(SIZES))]


def files(root):
    return FileSplit(targets=torch.arange(3), root=root, paths=pictures(root))


def crops(root):
    boxes = [(1, 1, 4, 6), (0, 2, 9, 4), (2.4, 0, 6, 3)]
    return CroppedSplit(targets=torch.arange(3), root=root, paths=pictures(root), boxes=boxes)


def memory(root):
    return TensorSplit(targets=torch.arange(3), images=torch.arange(3 * 3 * 4 * 5).reshape(3, 3, 4, 5).to(torch.uint8))


EVERY = [files, crops, memory]


@pytest.mark.parametrize("make", EVERY)
def test_every_image_has_a_name_of_its_own_and_its_size(make, tmp_path):
    split = make(tmp_path)
    assert split.names == [split.name(place) for place in range(3)]
    assert len(set(split.names)) == 3
    assert [split.size(place) for place in range(3)] == [tuple(split.image(place).shape[1:]) for place in range(3)]


@pytest.mark.parametrize("make", EVERY)
def test_a_folder_holds_the_images_by_their_names(make, tmp_path):
    split = make(tmp_path)
    assert split.folder == (tmp_path if make is files else None)
    assert split.in_memory is (make is memory)
    if split.folder is not None:
        assert all((split.folder / name).is_file() for name in split.names)


@pytest.mark.parametrize("make", EVERY)
def test_some_images_keep_their_names_pixels_and_targets(make, tmp_path):
    split = make(tmp_path)
    some = split.taken([2, 0])
    assert type(some) is type(split)
    assert some.targets.tolist() == [2, 0]
    for now, before in enumerate([2, 0]):
        assert torch.equal(some.image(now), split.image(before))
        if make is not memory:
            assert some.name(now) == split.name(before)


@pytest.mark.parametrize("make", EVERY)
def test_a_fingerprint_tells_images_targets_masks_and_order(make, tmp_path):
    split, again = make(tmp_path), make(tmp_path)
    split = type(split)(**{**vars(split)})
    kinds = {split.fingerprint()}
    again.marks = Marks([1], [0], [torch.ones(2, 2)])
    kinds.add(again.fingerprint())
    again.marks = Marks([1], [0], [torch.zeros(2, 2)])
    kinds.add(again.fingerprint())
    again.marks, again.groups = None, torch.tensor([0, 1, 0])
    kinds.add(again.fingerprint())
    kinds.add(split.taken([0, 2, 1]).fingerprint())
    other = make(tmp_path)
    other.targets = torch.tensor([0, 1, 1])
    kinds.add(other.fingerprint())
    assert len(kinds) == 6


def test_copies_elsewhere_are_the_same_by_their_pixels(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    here, there = files(one), files(other)
    assert here.fingerprint(sampled=16) == there.fingerprint(sampled=16)
    Image.new("RGB", SIZES[1][::-1]).save(other / "1.png")
    assert here.fingerprint(sampled=16) != there.fingerprint(sampled=16)


def test_a_stream_is_known_by_its_shards_and_picked_from_by_nobody():
    one, other = (
        StreamSplit(targets=torch.zeros(2).long(), shards=[f"{name}.tar", "b.tar"], counts=[1, 1], classes=2)
        for name in "ac"
    )
    assert one.fingerprint() != other.fingerprint()
    with pytest.raises(ValueError, match="images of a StreamSplit cannot be picked"):
        one.taken([0])
