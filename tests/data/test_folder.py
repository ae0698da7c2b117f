import os
import re
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from looksharp.data.dividing import divide
from looksharp.data.folder import read_folder
from looksharp.data.hold_out import hold_out
from looksharp.data.splits.files import FileSplit
from looksharp.images.headers import ImageSizes


def save(path, height=4, width=4, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, width, 3), value, np.uint8)).save(path)


@pytest.fixture
def lay(tmp_path):
    """Images `FOLDER/CLASS/N.png`, as many as are said."""

    def lay(**counts):
        for folder, classes in counts.items():
            for name, count in classes.items():
                for n in range(count):
                    save(tmp_path / folder.replace("root", ".") / name / f"{n}.png", value=n)
        return tmp_path

    return lay


def contents(split):
    return list(zip(split.paths, split.targets.tolist(), strict=True))


def mask(root, path, rows, size=(4, 4)):
    pixels = np.zeros(size, np.uint8)
    pixels[rows] = 255
    file = root / "masks" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


def test_splits_as_they_are_laid_out(lay):
    root = lay(
        train={"cat": 2, "dog": 3}, val={"cat": 1, "dog": 1}, test={"dog": 2, "cat": 1}, test_dark={"cat": 1, "dog": 1}
    )
    save(root / "train" / "dog" / "deep" / "9.JPG")
    (root / "train" / "dog" / "notes.txt").write_text("no image")
    (root / "train" / ".hidden").mkdir()
    (root / "other").mkdir()
    data = hold_out(read_folder(root))
    assert (data.name, data.classes) == (str(root), ("cat", "dog"))
    assert list(data.splits) == ["train", "val", "test", "test_dark"]
    assert contents(data.splits["train"]) == [
        ("train/cat/0.png", 0),
        ("train/cat/1.png", 0),
        ("train/dog/0.png", 1),
        ("train/dog/1.png", 1),
        ("train/dog/2.png", 1),
        ("train/dog/deep/9.JPG", 1),
    ]
    assert contents(data.splits["test"]) == [("test/cat/0.png", 0), ("test/dog/0.png", 1), ("test/dog/1.png", 1)]
    assert data.splits["test"].image(2).unique().tolist() == [1]
    for split in data.splits.values():
        assert isinstance(split, FileSplit)
        assert (split.marks, split.groups) == (None, None)
    assert (data.group_names, data.notes) == ((), {})


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_names_of_the_validation_split(lay, name):
    data = hold_out(read_folder(lay(train={"a": 3, "b": 3}, **{name: {"a": 1, "b": 2}})))
    assert list(data.splits) == ["train", "val"]
    assert [path for path, _ in contents(data.splits["val"])] == [
        f"{name}/a/0.png",
        f"{name}/b/0.png",
        f"{name}/b/1.png",
    ]


def test_validation_is_held_out_of_training_by_seed(lay):
    root = lay(train={"a": 20, "b": 10}, test={"a": 1, "b": 1})
    parts = [contents(hold_out(read_folder(root), 0.2, 3).splits[name]) for name in ("train", "val")]
    assert [Counter(label for _, label in part) for part in parts] == [{0: 16, 1: 8}, {0: 4, 1: 2}]
    everything = [path for part in parts for path, _ in part]
    assert len(set(everything)) == len(everything) == 30
    assert all(path.startswith(f"train/{'ab'[label]}/") for part in parts for path, label in part)
    assert contents(hold_out(read_folder(root), 0.2, 3).splits["val"]) == parts[1]
    assert contents(hold_out(read_folder(root), 0.2, 4).splits["val"]) != parts[1]
    assert contents(hold_out(read_folder(root), 0.2, 4).splits["test"]) == [
        ("test/a/0.png", 0),
        ("test/b/0.png", 1),
    ]


def test_without_a_share_validation_reads_the_first_test_split(lay):
    root = lay(train={"a": 2, "b": 2}, test_x={"a": 1, "b": 1}, test_y={"a": 2, "b": 1})
    data = hold_out(read_folder(root), 0)
    assert list(data.splits) == ["train", "val", "test_x", "test_y"]
    assert len(data.splits["train"]) == 4
    assert contents(data.splits["val"]) == contents(data.splits["test_x"])


def test_an_undivided_folder_is_divided(lay):
    root = lay(root={"a": 20, "b": 10, "c": 3})
    mask(root, "a/1.png", slice(1, 3))
    data = hold_out(read_folder(root), 0.1, 1)
    assert data.classes == ("a", "b", "c")  # masks are no class
    assert list(data.splits) == ["train", "val", "test"]
    parts = {name: contents(split) for name, split in data.splits.items()}
    counts = {name: Counter(label for _, label in part) for name, part in parts.items()}
    assert counts == {"train": {0: 16, 1: 8, 2: 1}, "val": {0: 2, 1: 1, 2: 1}, "test": {0: 2, 1: 1, 2: 1}}
    everything = [path for part in parts.values() for path, _ in part]
    assert sorted(everything) == sorted(p.relative_to(root).as_posix() for p in root.glob("[abc]/*.png"))
    again, other = hold_out(read_folder(root), 0.1, 1), hold_out(read_folder(root), 0.1, 2)
    assert {name: contents(split) for name, split in again.splits.items()} == parts
    assert {name: contents(split) for name, split in other.splits.items()} != parts
    assert sum(len(split.marks) for split in data.splits.values()) == 1


@pytest.mark.parametrize("counts", [(3, 4, 5), (10, 25, 100), (7, 1000, 13)])
@pytest.mark.parametrize("shares", [(0.8, 0.1, 0.1), (0.5, 0.5), (0.95, 0.05), (0.01, 0.99)])
def test_division_is_stratified_disjoint_and_complete(counts, shares):
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    labels = [labels[place] for place in torch.randperm(len(labels)).tolist()]
    parts = divide(labels, shares, seed=7)
    assert sorted(place for part in parts for place in part) == list(range(len(labels)))
    for part, share in zip(parts, shares, strict=True):
        assert part == sorted(part)
        owned = Counter(labels[place] for place in part)
        for label, count in enumerate(counts):
            assert owned[label] >= 1
            assert abs(owned[label] - share * count) <= len(shares) - 1 + 0.5
    assert divide(labels, shares, seed=7) == parts


def test_masks_become_pairs_of_their_split(lay):
    root = lay(train={"a": 3, "b": 3}, val={"a": 1, "b": 1}, test={"a": 1, "b": 1})
    mask(root, "train/b/1.png", 0)
    mask(root, "train/a/2.png", slice(1, 3))
    mask(root, "test/b/0.png", 3)
    mask(root, "test/b/77.png", 3)
    mask(root, "test/a/0.png", slice(0, 0))
    data = hold_out(read_folder(root))
    train, val, test = (data.splits[name].marks for name in ("train", "val", "test"))
    found = {
        (image, label): mask.any(1).nonzero().flatten().tolist()
        for image in range(6)
        for label, mask in train.of(image)
    }
    assert found == {(4, 1): [0], (2, 0): [1, 2]}
    assert len(val) == 0
    ((label, only),) = test.of(1)
    assert (label, only.dtype, only.nonzero().tolist()) == (1, torch.bool, [[3, n] for n in range(4)])
    assert data.notes == {"image not in the data": 1, "empty mask": 1}


def test_groups(lay):
    root = lay(train={"a": 2, "b": 1}, val={"a": 1, "b": 1})
    rows = ["path,group,more", "train/a/0.png,wäter,1", "train/a/1.png,land,1", "train/b/0.png,land,1"]
    rows += ["val/a/0.png,air,1", "val/b/0.png,wäter,1", "test/a/0.png,unused,1"]
    for encoding in ("utf-8", "utf-8-sig"):  # the second as spreadsheets save it
        (root / "groups.csv").write_text("\n".join(rows), encoding=encoding)
        data = hold_out(read_folder(root))
        assert data.group_names == ("air", "land", "unused", "wäter")
        assert data.splits["train"].groups.tolist() == [3, 1, 1]
        assert data.splits["val"].groups.tolist() == [0, 3]


@pytest.mark.parametrize(
    ("size", "want", "augment"),
    [
        ((96, 96), (96, 96), "crop_flip"),
        ((28, 28), (28, 28), "crop_flip"),
        ((97, 97), (224, 224), "resized_crop_flip"),
        ((32, 33), (224, 224), "resized_crop_flip"),
    ],
)
def test_the_size_of_the_first_image_counts_if_it_is_square_and_small(lay, size, want, augment):
    root = lay(train={"a": 2, "b": 2}, val={"a": 1, "b": 1})
    save(root / "train" / "a" / "0.png", *size)
    data = hold_out(read_folder(root))
    assert (data.pixels.size, data.augment) == (want, augment)
    data = hold_out(read_folder(root, size=40))
    assert (data.pixels.size, data.augment) == ((40, 40), "crop_flip")
    assert hold_out(read_folder(root, size=128)).augment == "resized_crop_flip"


def test_sizes_are_read_from_the_header(tmp_path):
    save(tmp_path / "a" / "1.png", 5, 9)
    save(tmp_path / "2.bmp", 7, 3)
    (tmp_path / "3.png").write_bytes(b"no image")
    sizes = ImageSizes(tmp_path, ["a/1.png", "2.bmp", "3.png", "4.png"])
    assert list(sizes) == ["a/1.png", "2.bmp", "3.png", "4.png"]
    assert len(sizes) == 4
    assert (sizes["a/1.png"], sizes["2.bmp"]) == ((5, 9), (7, 3))
    for name in ("3.png", "4.png"):
        with pytest.raises(ValueError, match=rf"^{re.escape(str(tmp_path / name))} cannot be read as an image: .+\Z"):
            sizes[name]
    with pytest.raises(KeyError):
        sizes["5.png"]


def fails(root, message, val_share=0.1):
    """The whole message, ROOT in it standing for the folder."""
    with pytest.raises(ValueError, match=f"^{re.escape(message.replace('ROOT', str(root)))}$"):
        hold_out(read_folder(root), val_share)


def test_a_folder_that_is_not_there(tmp_path):
    (tmp_path / "file").write_text("")
    for name in ("no", "file"):
        with pytest.raises(ValueError, match=rf"^data folder .*{name} does not exist$"):
            hold_out(read_folder(tmp_path / name))


def test_classes_must_be_two(lay):
    fails(lay(), "ROOT must hold a folder per class, at least two; found none")
    root = lay(train={"a": 2})
    fails(root, "ROOT/train must hold a folder per class, at least two; found only 'a'")


def test_classes_must_hold_images(lay):
    root = lay(train={"a": 2, "b": 2}, val={"a": 1})
    fails(root, "class folder ROOT/val/b does not exist")
    (root / "val" / "b").mkdir()
    (root / "val" / "b" / "notes.txt").write_text("")
    fails(root, "class folder ROOT/val/b holds no image")
    (root / "train" / "0").mkdir()
    fails(root, "class folder ROOT/train/0 holds no image")


def test_no_split_has_a_class_that_training_lacks(lay):
    root = lay(train={"a": 2, "b": 2}, test={"a": 1, "b": 1, "d": 1, "c": 1})
    fails(root, "ROOT/test has a class that train lacks: 'c'")


@pytest.mark.parametrize(("layout", "parts"), [({"train": {"a": 1, "b": 5}}, 2), ({"root": {"a": 2, "b": 9}}, 3)])
def test_too_few_images_to_divide(lay, layout, parts):
    fails(
        lay(**layout),
        f"class 0 has {parts - 1} images, too few to divide into {parts} splits; "
        "lay the splits out as folders train, val and test",
    )


def test_there_must_be_something_to_validate_on(lay):
    fails(lay(train={"a": 4, "b": 4}), "ROOT has neither val nor test; val_share must be above 0", val_share=0)


@pytest.mark.parametrize(
    "text", ["", "path,group\n", "path;group\ntrain/a/0.png;x\n", "group\nx\n", "path,group\na.png\n"]
)
def test_groups_need_their_columns(lay, text):
    root = lay(train={"a": 2, "b": 2}, val={"a": 1, "b": 1})
    (root / "groups.csv").write_text(text)
    fails(root, "ROOT/groups.csv must have the columns path and group, both filled in every row")


def test_every_image_needs_its_group(lay):
    root = lay(train={"a": 1, "b": 1}, val={"a": 1, "b": 1})
    (root / "groups.csv").write_text("path,group\ntrain/a/0.png,x\ntrain/b/0.png,x\nval/a/0.png,x\n")
    fails(root, "ROOT/groups.csv has no group for val/b/0.png")


def test_the_first_image_must_be_one(lay):
    root = lay(train={"a": 2, "b": 2}, val={"a": 1, "b": 1})
    (root / "train" / "a" / "0.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"train/a/0\.png cannot be read as an image: .+\Z"):
        hold_out(read_folder(root))
    assert hold_out(read_folder(root, size=32)).pixels.size == (32, 32)


def test_masks_must_be_of_their_images_size(lay):
    root = lay(train={"a": 2, "b": 2}, val={"a": 1, "b": 1})
    mask(root, "train/a/0.png", 1, size=(4, 5))
    with pytest.raises(ValueError, match=r"0\.png is for an image of 4x5 pixels \(height x width\), but .* has 4x4"):
        hold_out(read_folder(root))


def test_nobody_waits_for_a_pipe(lay):
    root = lay(train={"a": 2, "b": 2}, val={"a": 1, "b": 1})
    os.mkfifo(root / "train" / "a" / "pipe.png")
    fails(root, "ROOT/train/a/pipe.png is no regular file; remove it")


def test_names_of_every_kind(tmp_path):
    names = {"Übergröße 猫": "grün.png", "two\nlines": "a\nb.png", "dots..": "c...png", "ends": "d.png."}
    for label, name in names.items():
        (tmp_path / "train" / label).mkdir(parents=True)
        for number in range(2):
            Image.new("L", (4, 4), number).save(tmp_path / "train" / label / f"{number}{name}", "PNG")
    data = hold_out(read_folder(tmp_path), 0.5)
    assert set(data.classes) == set(names)
    found = {path for split in data.splits.values() for path in split.paths}
    assert found == {f"train/{label}/{number}{name}" for label, name in names.items() for number in range(2)}
    for split in data.splits.values():
        (batch,) = split.loader([[0, 1, 2, 3]], data.pixels)
        assert len(batch) == 4


def test_formats_of_every_kind_are_found(tmp_path):
    for label in ("a", "b"):
        (tmp_path / "train" / label).mkdir(parents=True)
        for suffix in ("gif", "webp", "avif", "JPG", "jfif", "tiff"):
            format = "JPEG" if suffix == "jfif" else None
            Image.new("RGB", (4, 4)).save(tmp_path / "train" / label / f"1.{suffix}", format)
        (tmp_path / "train" / label / "._1.jpg").write_bytes(b"left by a Mac")
    data = hold_out(read_folder(tmp_path), 0.34)
    assert sum(len(split) for split in data.splits.values()) == 12


def test_pictures_in_other_formats_are_counted(lay):
    root = lay(train={"a": 2, "b": 2}, val={"a": 1, "b": 1})
    for name in ("train/a/list.TXT", "val/b/x.DNG", "train/b/y.dng", "train/b/raw.cr2", "train/b/README"):
        (root / name).write_text("")
    assert hold_out(read_folder(root)).notes == {
        "pictures in a format that is not read: .cr2": 1,
        "pictures in a format that is not read: .dng": 2,
    }
