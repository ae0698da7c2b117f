import pytest

from looksharp.data.hold_out import hold_out
from looksharp.data.listed import check_files, find_home, images_in, listed_data
from looksharp.marks.regions import Boxes, MadeMasks

FILES = {
    "train": [(f"{label}/{n}.png", label) for label in range(2) for n in range(10)],
    "test": [("0/test.png", 0), ("1/test.png", 1)],
}


def test_validation_is_held_out_of_training(tmp_path):
    region = Boxes((6, 8), ((0.0, 0.0, 3.0, 2.0),))
    regions = {path: region for path, _ in FILES["train"][5:15]}
    data = hold_out(listed_data(tmp_path, ("a", "b"), FILES, regions=regions, notes={"odd": 2}), 0.3, 1)
    assert list(data.splits) == ["train", "val", "test"]
    train, val, test = data.splits.values()
    assert [split.targets.tolist() for split in (train, val, test)] == [[0] * 7 + [1] * 7, [0] * 3 + [1] * 3, [0, 1]]
    assert sorted([*train.paths, *val.paths]) == sorted(path for path, _ in FILES["train"])
    for split in (train, val, test):
        marked = [place for place, path in enumerate(split.paths) if path in regions]
        assert isinstance(split.marks.masks, MadeMasks)
        assert split.marks.samples == marked
        assert split.marks.labels == [int(split.paths[place][0]) for place in marked]
    assert train.marks.masks[0].sum() == 6
    assert (data.pixels.size, data.augment, data.notes) == ((224, 224), "resized_crop_flip", {"odd": 2})
    other = hold_out(listed_data(tmp_path, ("a", "b"), FILES), 0.3, 2)
    assert other.splits["val"].paths != val.paths
    assert other.splits["val"].marks is None


def test_without_a_share_validation_reads_the_test_split(tmp_path):
    data = hold_out(listed_data(tmp_path, ("a", "b"), FILES), 0).resized(32)
    assert [len(split) for split in data.splits.values()] == [20, 2, 2]
    assert data.splits["val"].paths == data.splits["test"].paths
    assert data.pixels.size == (32, 32)


def test_an_own_validation_split_is_kept(tmp_path):
    files = {"train": FILES["train"], "val": FILES["test"]}
    data = hold_out(listed_data(tmp_path, ("a", "b"), files))
    assert [len(split) for split in data.splits.values()] == [20, 2]


def test_empty_classes_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"^class 'c' has no train image in .*$"):
        hold_out(listed_data(tmp_path, ("a", "b", "c"), FILES))
    with pytest.raises(ValueError, match=r"^class 'a' has no test image in .*, and 1 classes more$"):
        hold_out(listed_data(tmp_path, ("a", "b"), {"train": FILES["train"], "test": []}))


def test_missing_files_are_named_and_counted(tmp_path, draw):
    draw(tmp_path / "a.png")
    check_files(tmp_path, ["a.png"], "list.txt")
    with pytest.raises(ValueError, match=r"^.*/b\.png does not exist, though list\.txt lists it$"):
        check_files(tmp_path, ["a.png", "b.png"], "list.txt")
    with pytest.raises(ValueError, match=r"^.*/b\.png does not exist, though list\.txt lists it, nor do 2 others$"):
        check_files(tmp_path, ["b.png", "a.png", "c.png", "d.png"], "list.txt")


def test_the_images_of_a_folder(tmp_path, draw):
    for name in ("b.JPEG", "a.png", ".hidden/c.png", "below/d.png"):
        draw(tmp_path / "cat" / name)
    (tmp_path / "cat" / "RENAME2").write_text("mv a b")
    assert images_in(tmp_path, "cat") == ["cat/a.png", "cat/b.JPEG"]
    with pytest.raises(ValueError, match=r"^class folder .*/cat/below/no does not exist$"):
        images_in(tmp_path, "cat/below/no")
    (tmp_path / "dog").mkdir()
    with pytest.raises(ValueError, match=r"^class folder .*/dog holds no image$"):
        images_in(tmp_path, "dog")


def test_the_home_of_a_set(tmp_path):
    (tmp_path / "birds" / "images").mkdir(parents=True)
    assert find_home("cub", tmp_path, ("birds",), "images") == tmp_path / "birds"
    assert find_home("cub", tmp_path / "birds", ("birds",), "images") == tmp_path / "birds"
    with pytest.raises(
        ValueError, match=r"^cub was not found in root .*: there is no \S+/x/images or \S+/x/birds/images$"
    ):
        find_home("cub", tmp_path / "x", ("birds",), "images")
