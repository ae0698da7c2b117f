from collections import Counter

import pytest
import torch

from looksharp.data.hold_out import hold_out
from looksharp.data.sets.caltech256 import read_caltech256

COUNTS = {"001.ak47": 34, "002.american-flag": 40, "251.airplanes-101": 28}


@pytest.fixture
def home(tmp_path):
    """Empty files suffice: only names are read. 256_ObjectCategories has stray ones too."""
    folder = tmp_path / "256_ObjectCategories"
    for name, count in {**COUNTS, "257.clutter": 30}.items():
        (folder / name).mkdir(parents=True)
        for number in range(1, count + 1):
            (folder / name / f"{name[:3]}_{number:04}.jpg").touch()
    (folder / "002.american-flag" / "RENAME2").touch()
    (folder / "002.american-flag" / "greg").mkdir()
    return folder


def test_images_are_drawn_per_class(home):
    data = hold_out(read_caltech256(home.parent, train_per_class=8, seed=1), 0, 1)
    assert data.classes == tuple(COUNTS)
    train, _, test = data.splits.values()
    assert Counter(test.targets.tolist()) == {0: 25, 1: 25, 2: 25}
    assert Counter(train.targets.tolist()) == {0: 8, 1: 8, 2: 3}  # of the last 3 are left
    assert data.notes == {"classes of fewer than 8 training images": 1}
    for split in (train, test):
        folders = [path.partition("/")[0] for path in split.paths]
        assert [data.classes[label] for label in split.targets] == folders
        assert all((home / path).is_file() for path in split.paths)
    everything = [*train.paths, *test.paths]
    assert len(set(everything)) == len(everything)


def test_the_seed_draws_and_fewer_are_some_of_the_more(home):
    few, more = (hold_out(read_caltech256(home, train_per_class=n, seed=1), 0, 1).splits for n in (3, 8))
    assert few["test"].paths == more["test"].paths
    assert set(few["train"].paths) < set(more["train"].paths)
    assert torch.equal(few["val"].targets, few["test"].targets)
    other = hold_out(read_caltech256(home, train_per_class=3, seed=2), 0, 2).splits
    assert other["test"].paths != few["test"].paths
    assert other["train"].paths != few["train"].paths


def test_validation_is_held_out_of_training(home):
    whole = hold_out(read_caltech256(home, train_per_class=3), 0)
    data = hold_out(read_caltech256(home, train_per_class=3), 0.34)
    assert [len(split) for split in data.splits.values()] == [6, 3, 75]
    assert sorted([*data.splits["train"].paths, *data.splits["val"].paths]) == sorted(whole.splits["train"].paths)
    assert data.notes == {}


@pytest.mark.parametrize("where", ["", "256_ObjectCategories", "above"])
def test_the_folder_is_found(home, where):
    root = home.parent / where
    if where == "above":
        (root / "caltech256").mkdir(parents=True)
        home.rename(root / "caltech256" / home.name)
    assert hold_out(read_caltech256(root), 0).name.endswith("256_ObjectCategories")


def test_broken_layouts_are_named(home, tmp_path):
    with pytest.raises(ValueError, match=r"^train_per_class must be at least 1; got 0$"):
        hold_out(read_caltech256(home, train_per_class=0))
    with pytest.raises(
        ValueError, match=r"^caltech256 was not found in root \S+/no: there is no \S+256_ObjectCategories"
    ):
        hold_out(read_caltech256(tmp_path / "no"))
    for number in range(1, 16):
        (home / "001.ak47" / f"001_{number:04}.jpg").unlink()
    with pytest.raises(ValueError, match=r"^class folder \S+/001\.ak47 holds 19 images; 25 are tested alone$"):
        hold_out(read_caltech256(home))
    for path in (home / "001.ak47").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match=r"^class folder \S+/001\.ak47 holds no image$"):
        hold_out(read_caltech256(home))
