import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from looksharp.data.build import DataConfig, build_data
from looksharp.data.hold_out import hold_out
from looksharp.data.sets.uec_food import read_uec_food

HEIGHT, WIDTH = 12, 20


class Food:
    """Photographs that are dark on the left and light on the right."""

    def __init__(self, root):
        self.home = root / "UECFOOD100"
        self.home.mkdir()
        (self.home / "category.txt").write_text("id\tname\n1\trice\n2\teels on rice\n3\tpilaf\n")

    def folder(self, number, *dishes):
        """Each dish: photograph, box."""
        folder = self.home / str(number)
        folder.mkdir(exist_ok=True)
        for photograph, _ in dishes:
            pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
            pixels[:, WIDTH // 2 :] = 200
            Image.fromarray(pixels).save(folder / f"{photograph}.jpg", quality=100)
        lines = [f"{photograph} " + " ".join(str(v) for v in box) for photograph, box in dishes]
        (folder / "bb_info.txt").write_text("img x1 y1 x2 y2\n" + "\n".join(lines) + "\n")


LEFT, RIGHT = (0, 0, 10, 12), (12, 2, 20, 7)


@pytest.fixture
def food(tmp_path):
    """Ten photographs of each dish; 5 is of rice (twice) and of pilaf too."""
    made = Food(tmp_path)
    made.folder(1, *((n, LEFT) for n in range(1, 11)), (5, RIGHT))
    made.folder(2, *((n, RIGHT) for n in range(11, 21)))
    made.folder(3, *((n, LEFT) for n in range(21, 31)), (5, RIGHT))
    return made


def stems(split):
    return {Path(path).stem for path in split.paths}


def test_images_are_the_boxes(food):
    data = hold_out(read_uec_food(food.home), 0)
    assert data.classes == ("rice", "eels on rice", "pilaf")
    for split in data.splits.values():
        assert split.marks is None
        for place, (path, label) in enumerate(zip(split.paths, split.targets.tolist(), strict=True)):
            assert path.startswith(f"{label + 1}/")
            image = split.image(place)
            if split.boxes[place] == LEFT:
                assert image.shape == (3, 12, 10)
                assert image.float().mean() < 20
            else:
                assert image.shape == (3, 5, 8)
                assert image.float().mean() > 180
    (batch,) = data.splits["train"].loader([[0, 1]], data.pixels)
    assert batch.image.shape == (2, 3, 224, 224)


def test_a_photograph_is_in_one_fold_whatever_it_shows(food):
    seen = []
    for fold in range(5):
        data = build_data(DataConfig("uec_food100", food.home.parent, val_share=0.25, settings={"fold": fold}))
        train, val, test = (stems(data.splits[name]) for name in ("train", "val", "test"))
        assert not train & test
        assert not train & val
        assert not val & test
        assert len(train | val | test) == 30
        assert len(test) == 6  # two of each class
        assert sum(len(split) for split in data.splits.values()) == 32
        seen += sorted(test)
        if "5" in test:  # both of rice, and of pilaf
            assert sorted(p for p in data.splits["test"].paths if p.endswith("/5.jpg")) == ["1/5.jpg"] * 2 + ["3/5.jpg"]
    assert sorted(map(int, seen)) == list(range(1, 31))


def test_seeds_change_validation_alone(food):
    first, other = (hold_out(read_uec_food(food.home), 0.3, seed) for seed in (0, 1))
    assert first.splits["test"].paths == other.splits["test"].paths
    assert stems(first.splits["val"]) != stems(other.splits["val"])
    whole = hold_out(read_uec_food(food.home), 0)
    assert whole.splits["val"].paths == whole.splits["test"].paths


def test_whole_photographs_have_their_boxes_as_masks(food):
    data = hold_out(read_uec_food(food.home, crop_to_boxes=False), 0)
    assert sum(len(data.splits[name]) for name in ("train", "test")) == 31  # 5 once in each of its folders
    masks = {
        path: mask
        for name in ("train", "test")
        for place, path in enumerate(data.splits[name].paths)
        for label, mask in data.splits[name].marks.of(place)
        if label == data.splits[name].targets[place]
    }
    assert len(masks) == 31
    left, right = torch.zeros(2, HEIGHT, WIDTH, dtype=torch.bool)
    left[:, :10], right[2:7, 12:] = True, True
    assert torch.equal(masks["1/5.jpg"], left | right)
    assert torch.equal(masks["3/5.jpg"], right)
    assert torch.equal(masks["1/1.jpg"], left)


def test_broken_layouts(food):
    def fails(message, **settings):
        with pytest.raises(ValueError, match=f"^{message.replace('HOME', re.escape(str(food.home)))}$"):
            hold_out(read_uec_food(food.home, **settings))

    fails("fold must be 0 to 4, the one that is tested on; got -1", fold=-1)
    (food.home / "2" / "13.jpg").unlink()
    fails(r"HOME/2/13\.jpg does not exist, though 2/bb_info\.txt lists it")
    (food.home / "2" / "bb_info.txt").write_text("img x1 y1 x2 y2\n11 4 4 2 9\n")
    fails(r"HOME/2/bb_info\.txt, line 2 must have a box x1 y1 x2 y2 with x1 < x2 and y1 < y2; got '4 4 2 9'")
    (food.home / "2" / "bb_info.txt").write_text("img x1 y1 x2 y2\n11 4 4 a\n")
    fails(r"HOME/2/bb_info\.txt, line 2 must have a box .*; got '4 4 a'")
    (food.home / "2" / "bb_info.txt").write_text("img x1 y1 x2 y2\n")
    fails("class 'eels on rice' has no train image in HOME")
    (food.home / "2" / "bb_info.txt").unlink()
    fails(r"HOME/2/bb_info\.txt does not exist; every class folder has one, with the boxes of its dishes")
    (food.home / "category.txt").write_text("id\tname\n1\n2\tb\n")
    fails(r"HOME/category\.txt must list a class a line, its number and its name; got \['1'\]")
    (food.home / "category.txt").unlink()
    fails(r"uec_food100 was not found in root HOME: there is no HOME/category\.txt or .*")


def test_a_box_outside_its_photograph(food):
    food.folder(2, *((n, (5, 3, 90, 90)) for n in range(11, 20)), (20, (30, 3, 90, 90)))
    data = hold_out(read_uec_food(food.home), 0)
    for split in data.splits.values():
        for place, path in enumerate(split.paths):
            if path == "2/20.jpg":
                with pytest.raises(ValueError, match=r"2/20\.jpg has 12x20 pixels .* its box goes from x 30 to 90"):
                    split.image(place)
            elif path.startswith("2/"):
                assert split.image(place).shape == (3, 9, 15)  # what lies inside
