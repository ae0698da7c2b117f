import re
import shutil

import numpy as np
import pytest
from scipy.io import savemat
from torchvision.datasets import StanfordCars

from looksharp.data.hold_out import hold_out
from looksharp.data.sets.stanford_cars import read_stanford_cars

CLASSES = ["AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Ram C/V Cargo Van Minivan 2012"]
SIZE = (9, 12)
# x1, y1, x2, y2, class, file; pixels from 1, the last included
CARS = {
    "train": [(2, 3, 5, 8, 2, "00001.jpg"), (1, 1, 12, 9, 3, "00002.jpg"), (6, 6, 6, 6, 1, "00003.jpg")],
    "test": [(1, 2, 3, 4, 3, "00001.jpg"), (4, 4, 13, 9, 1, "00002.jpg"), (5, 1, 9, 2, 2, "00003.jpg")],
}
FIELDS = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")
TABLES = {"train": "devkit/cars_train_annos.mat", "test": "cars_test_annos_withlabels.mat"}


def write_table(path, rows, fields=FIELDS):
    cells = [tuple(np.uint16(v) if isinstance(v, int) else v for v in row[: len(fields)]) for row in rows]
    table = np.empty((1, len(rows)), dtype=[(name, object) for name in fields])
    for place, row in enumerate(cells):
        table[0, place] = row
    savemat(path, {"annotations": table})


@pytest.fixture
def home(tmp_path, draw):
    home = tmp_path / "stanford_cars"
    (home / "devkit").mkdir(parents=True)
    savemat(home / "devkit" / "cars_meta.mat", {"class_names": np.array(CLASSES, dtype=object)[None]})
    for split, rows in CARS.items():
        write_table(home / TABLES[split], rows)
        for row in rows:
            draw(home / f"cars_{split}" / row[5], SIZE, mode="L" if row[4] == 1 else "RGB")
    # As in the devkit, where the test images have no class
    bare = [(*row[:4], row[5]) for row in CARS["test"]]
    write_table(home / "devkit" / "cars_test_annos.mat", bare, (*FIELDS[:4], "fname"))
    return home


@pytest.mark.parametrize("where", ["above", "itself"])
def test_cars(home, where):
    data = hold_out(read_stanford_cars(home if where == "itself" else home.parent), 0).resized(64)
    assert data.classes == tuple(CLASSES)
    assert data.pixels.size == (64, 64)
    assert data.notes == {"clipped to the image": 1}
    for split, rows in CARS.items():
        read = data.splits[split]
        assert read.paths == [f"cars_{split}/{row[5]}" for row in rows]
        assert read.targets.tolist() == [row[4] - 1 for row in rows]
        assert read.marks.labels == read.targets.tolist()
        for place, (left, top, right, bottom, *_) in enumerate(rows):
            expected = np.zeros(SIZE, bool)
            expected[top - 1 : bottom, left - 1 : right] = True
            assert np.array_equal(read.marks.masks[place].numpy(), expected)
            assert read.image(place).shape == (3, *SIZE)
    assert data.splits["val"].paths == data.splits["test"].paths


def test_they_are_those_of_torchvision(home):
    data = hold_out(read_stanford_cars(home), 0)
    for split in ("train", "test"):
        theirs, read = StanfordCars(home.parent, split), data.splits[split]
        samples = [(str(home / path), label) for path, label in zip(read.paths, read.targets.tolist(), strict=True)]
        assert samples == theirs._samples
        assert list(data.classes) == theirs.classes


def fails(root, message):
    with pytest.raises(ValueError, match=f"^{message.replace('ROOT', re.escape(str(root)))}$"):
        hold_out(read_stanford_cars(root))


def test_missing_files_are_named(home):
    (home / "cars_test" / "00002.jpg").unlink()
    fails(home, r"ROOT/cars_test/00002\.jpg does not exist, though cars_test_annos_withlabels\.mat lists it")
    shutil.rmtree(home / "cars_train")
    fails(
        home,
        r"ROOT/cars_train/00001\.jpg does not exist, though devkit/cars_train_annos\.mat lists it, nor do 2 others",
    )
    (home / "devkit" / "cars_meta.mat").unlink()
    fails(home, r"ROOT/devkit/cars_meta\.mat does not exist")
    shutil.rmtree(home / "devkit")
    fails(home, r"stanford_cars was not found in root ROOT: there is no ROOT/devkit or ROOT/stanford_cars/devkit")


def test_damaged_tables_are_named(home):
    table = home / TABLES["test"]
    shutil.copy(home / "devkit" / "cars_test_annos.mat", table)
    fails(
        home,
        r"ROOT/cars_test_annos_withlabels\.mat: annotations must have the field 'class'; "
        r"the test images' classes are in cars_test_annos_withlabels\.mat",
    )
    write_table(table, [(1, 1, 2, 2, 4, "00001.jpg")])
    fails(home, r"ROOT/cars_test_annos_withlabels\.mat gives cars_test/00001\.jpg a class that is not 1 to 3")
    write_table(table, [(1, 1, 2, 2, 3, "00001.jpg")])
    fails(home, rf"class '{CLASSES[0]}' has no test image in ROOT, and 1 classes more")
    write_table(table, [(13, 1, 14, 2, 3, "00001.jpg")])
    fails(home, r"ROOT/\S+: the box of cars_test/00001\.jpg lies wholly outside the image .*")
    table.write_bytes(table.read_bytes()[:150])
    fails(home, r"ROOT/cars_test_annos_withlabels\.mat cannot be read as a MATLAB file: .*")
