import re

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from looksharp.data.build import DataConfig, build_data
from looksharp.data.hold_out import hold_out
from looksharp.data.sets.compcars import read_compcars

HEIGHT, WIDTH = 20, 30
BOX = (4, 6, 24, 18)  # left, top, right, bottom


class Cars:
    def __init__(self, root):
        self.home = root / "data"
        self.lists = {"train": [], "test": []}

    def car(self, part, *cars):
        """Each car: maker/model/year/name."""
        for car in cars:
            image = self.home / "image" / f"{car}.jpg"
            image.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
            pixels[BOX[1] : BOX[3], BOX[0] : BOX[2]] = 255
            Image.fromarray(pixels).convert("CMYK").save(image, quality=100)
            self.label(car, f"1\n1\n{' '.join(str(edge) for edge in BOX)}\n")
            self.lists[part].append(f"{car}.jpg")
        folder = self.home / "train_test_split" / "classification"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{part}.txt").write_text("\n".join(self.lists[part]) + "\n")

    def label(self, car, text):
        path = self.home / "label" / f"{car}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def cars(tmp_path):
    """Makers 2 and 10; models 1 and 3 of the first, 12 of the other."""
    made = Cars(tmp_path)
    models = ("2/1/2009", "2/3/unknown", "10/12/2011")
    made.car("train", *(f"{model}/t{n}" for model in models for n in range(4)))
    made.car("test", *(f"{model}/e{n}" for model in models for n in range(2)))
    return made


def names(home, models):
    makes = np.empty((10, 1), object)
    makes[:] = [[f"maker {n + 1} "] for n in range(10)]
    cells = np.empty((12, 1), object)
    cells[:] = [[models.get(n + 1, np.zeros((0, 0)))] for n in range(12)]
    (home / "misc").mkdir(exist_ok=True)
    savemat(home / "misc" / "make_model_name.mat", {"make_names": makes, "model_names": cells})


def test_models_and_makers(cars, tmp_path):
    data = build_data(DataConfig("compcars_model", tmp_path, val_share=0.25))
    assert data.classes == ("2/1", "2/3", "10/12")  # makers by number, where no names are given
    assert {name: split.targets.tolist() for name, split in data.splits.items()} == {
        "train": [0] * 3 + [1] * 3 + [2] * 3,
        "val": [0, 1, 2],
        "test": [0, 0, 1, 1, 2, 2],
    }
    for split in data.splits.values():
        models = [("2/1", "2/3", "10/12")[target] for target in split.targets]
        assert [path.startswith(f"image/{model}/") for path, model in zip(split.paths, models, strict=True)]
    makers = build_data(DataConfig("compcars_maker", tmp_path, val_share=0))
    assert makers.classes == ("2", "10")
    assert makers.splits["test"].targets.tolist() == [0, 0, 0, 0, 1, 1]
    assert len(makers.splits["train"]) == 12


def test_names(cars):
    names(cars.home, {1: "A4 ", 3: "A4", 12: "X5"})
    assert hold_out(read_compcars(cars.home)).classes == ("A4 2/1", "A4 2/3", "X5")  # two have one name
    assert hold_out(read_compcars(cars.home, "maker")).classes == ("maker 2", "maker 10")
    names(cars.home, {3: "A4", 12: "X5"})
    assert hold_out(read_compcars(cars.home)).classes == ("2/1", "A4", "X5")


def test_cars_are_cut_out_wider_than_high(cars):
    data = hold_out(read_compcars(cars.home))
    assert data.pixels.size == (224, 323)
    image = data.splits["train"].image(0)
    assert image.shape == (3, BOX[3] - BOX[1], BOX[2] - BOX[0])
    assert image.float().mean() > 245  # the box alone is white
    (batch,) = data.splits["test"].loader([[0, 5]], data.pixels, augment="resized_crop_flip")
    assert batch.image.shape == (2, 3, 224, 323)
    assert hold_out(read_compcars(cars.home)).resized(64).pixels.size == (64, 64)
    assert hold_out(read_compcars(cars.home)).resized((32, 48)).pixels.size == (32, 48)


def test_whole_images_have_their_box_as_mask(cars, tmp_path):
    data = build_data(DataConfig("compcars_model", tmp_path, settings={"crop_to_boxes": False}))
    ((label, mask),) = data.splits["test"].marks.of(4)
    box = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    box[BOX[1] : BOX[3], BOX[0] : BOX[2]] = True
    assert label == 2
    assert torch.equal(mask, box)
    assert data.splits["test"].image(4).shape == (3, HEIGHT, WIDTH)
    assert data.pixels.size == (224, 323)


def test_broken_layouts(cars, tmp_path):
    lists = cars.home / "train_test_split" / "classification"

    def fails(message):
        with pytest.raises(ValueError, match=f"^{message.replace('HOME', re.escape(str(cars.home)))}$"):
            hold_out(read_compcars(cars.home))

    cars.label("2/1/2009/e1", "1\n1\n")
    fails(r"HOME/label/2/1/2009/e1\.txt, line 3 must have a box x1 y1 x2 y2 with x1 < x2 and y1 < y2; got ''")
    (cars.home / "label/2/1/2009/e1.txt").unlink()
    fails(r"HOME/label/2/1/2009/e1\.txt does not exist, though image/2/1/2009/e1\.jpg needs its box")
    (cars.home / "image/2/1/2009/t2.jpg").unlink()
    fails(r"HOME/image/2/1/2009/t2\.jpg does not exist, though train_test_split/classification/train\.txt lists it")
    (lists / "train.txt").write_text("2/1/2009/t0.jpg\n2/3/unknown/t0.jpg\n")
    fails(r"HOME/train_test_split/classification/test\.txt has a model that train\.txt lacks: 10/12")
    (lists / "test.txt").write_text("2/1/e1.jpg\n")
    fails(r"HOME/.*/test\.txt must list images as MAKE/MODEL/YEAR/IMAGE\.jpg; got '2/1/e1\.jpg'")
    (lists / "test.txt").write_text("\n")
    fails(r"HOME/.*/test\.txt must list images as MAKE/MODEL/YEAR/IMAGE\.jpg; got 'no line'")
    (lists / "test.txt").unlink()
    fails(r"HOME/train_test_split/classification/test\.txt does not exist")
    lists.rename(cars.home / "lists")
    fails(r"compcars was not found in root HOME: there is no HOME/train_test_split/classification or .*")


def test_a_class_without_test_images_is_named(cars):
    cars.lists["test"] = cars.lists["test"][:4]
    cars.car("test")
    with pytest.raises(ValueError, match=r"^class '10/12' has no test image in "):
        hold_out(read_compcars(cars.home))
