import math
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from looksharp.data.hold_out import hold_out
from looksharp.data.sets.cub200 import read_cub200

SIZE = (40, 60)
# image, class, training, box (x, y, width, height), visible parts (x, y)
BIRDS = [
    ("001.Black_footed_Albatross/Black_Footed_Albatross_0046_18", 1, 1, (10.0, 5.0, 20.0, 10.0), [(12.0, 7.0)]),
    ("001.Black_footed_Albatross/Black_Footed_Albatross_0009_34", 1, 0, (0.0, 0.0, 60.0, 40.0), [(1.0, 1.0)]),
    ("002.Laysan_Albatross/Laysan_Albatross_0002_1027", 2, 1, (30.5, 20.0, 4.0, 50.0), [(30.0, 20.0), (50.0, 35.0)]),
    ("002.Laysan_Albatross/Laysan_Albatross_0001_545", 2, 0, (59.0, 39.0, 1.0, 1.0), []),
]


@pytest.fixture
def home(tmp_path, draw):
    home = tmp_path / "CUB_200_2011"
    (home / "parts").mkdir(parents=True)
    tables = {name: [] for name in ("images", "image_class_labels", "train_test_split", "bounding_boxes", "parts")}
    for number, (name, label, training, box, points) in enumerate(BIRDS, 1):
        draw(home / "images" / f"{name}.jpg", SIZE, mode="L" if number == 1 else "RGB")
        tables["images"].append(f"{number} {name}.jpg")
        tables["image_class_labels"].append(f"{number} {label}")
        tables["train_test_split"].append(f"{number} {training}")
        tables["bounding_boxes"].append(f"{number} {' '.join(map(str, box))}")
        for part in range(1, 4):
            x, y, visible = (*points[part - 1], 1) if part <= len(points) else (0.0, 0.0, 0)
            tables["parts"].append(f"{number} {part} {x} {y} {visible}")
    for name, rows in tables.items():
        path = home / ("parts/part_locs.txt" if name == "parts" else f"{name}.txt")
        path.write_text("".join(f"{row}\n" for row in rows))
    (home / "classes.txt").write_text("1 001.Black_footed_Albatross\n2 002.Laysan_Albatross\n")
    return home


def found(data):
    return {
        data.splits[name].paths[image]: (data.classes[label], mask)
        for name in ("train", "test")
        for image in data.splits[name].marks.images
        for label, mask in data.splits[name].marks.of(image)
    }


def path_of(bird):
    return f"images/{bird[0]}.jpg"


@pytest.mark.parametrize("where", ["above", "itself"])
def test_splits_and_classes(home, where):
    data = hold_out(read_cub200(home if where == "itself" else home.parent), 0)
    assert data.classes == ("001.Black_footed_Albatross", "002.Laysan_Albatross")
    train, val, test = data.splits.values()
    assert train.paths == [path_of(BIRDS[0]), path_of(BIRDS[2])]
    assert test.paths == val.paths == [path_of(BIRDS[1]), path_of(BIRDS[3])]
    assert train.targets.tolist() == test.targets.tolist() == [0, 1]
    assert train.image(0).shape == (3, *SIZE)  # a grey one
    assert data.pixels.size == (224, 224)


def test_boxes(home):
    data = hold_out(read_cub200(home), 0)
    masks = found(data)
    assert len(masks) == 4
    for bird in BIRDS:
        x, y, width, height = bird[3]
        label, mask = masks[path_of(bird)]
        assert label == data.classes[bird[1] - 1]
        expected = torch.zeros(SIZE, dtype=torch.bool)
        # 30.5 to 34.5: the centres 30.5 to 33.5 lie in it
        expected[int(y) : int(y + height), math.floor(x) : math.floor(x + width)] = True
        assert torch.equal(mask, expected)
    assert data.notes == {"clipped to the image": 1}


def test_parts(home):
    masks = found(hold_out(read_cub200(home, marks_from="parts"), 0))
    assert set(masks) == {path_of(bird) for bird in BIRDS[:3]}  # the last shows none
    for bird in BIRDS[:3]:
        expected = torch.zeros(SIZE, dtype=torch.bool)
        for row in range(SIZE[0]):
            for column in range(SIZE[1]):  # the radius is a twentieth of 40
                near = [(column + 0.5 - x) ** 2 + (row + 0.5 - y) ** 2 <= 4 for x, y in bird[4]]
                expected[row, column] = any(near)
        assert expected.any()
        assert torch.equal(masks[path_of(bird)][1], expected)


@pytest.mark.parametrize("beside", [False, True])
def test_masks(home, beside):
    folder = (home.parent if beside else home) / "segmentations"
    votes = torch.randint(0, 6, (4, *SIZE), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    for number, bird in enumerate(BIRDS):
        path = folder / f"{bird[0]}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        grey = Image.fromarray((votes[number] * 51).numpy())
        # A few of the published files have transparency
        (grey if number else grey.convert("LA")).save(path)
    masks = found(hold_out(read_cub200(home, marks_from="masks"), 0))
    for number, bird in enumerate(BIRDS):
        assert torch.equal(masks[path_of(bird)][1], votes[number] >= 3)
    Image.fromarray(votes[0, 1:].numpy()).save(folder / f"{BIRDS[3][0]}.png")
    with pytest.raises(ValueError, match=r"^\S+_545\.png has 39x60 pixels \(height x width\), but \S+ has 40x60$"):
        hold_out(read_cub200(home, marks_from="masks"))
    (folder / f"{BIRDS[2][0]}.png").unlink()
    with pytest.raises(ValueError, match=r"^\S+/segmentations/002\S+_1027\.png does not exist, though images\.txt"):
        hold_out(read_cub200(home, marks_from="masks"))


def test_batches_carry_boxes(home):
    data = hold_out(read_cub200(home), 0).resized(20)
    (batch,) = data.splits["train"].loader([[1, 0]], data.pixels)
    assert batch.target.tolist() == [1, 0]
    assert batch.marks.label.tolist() == [1, 0]
    mask = batch.marks.mask[1].bool()  # halved, and the middle 20 of 30 columns: from 0 to 10, 2.5 to 7.5
    assert np.allclose([mask.sum(1).max(), mask.sum(0).max()], [10, 5], atol=1)


def fails(home, message, **options):
    with pytest.raises(ValueError, match=f"^{message}$"):
        hold_out(read_cub200(home, **options))


def test_a_missing_table_is_named(home):
    for name in ("train_test_split", "image_class_labels", "bounding_boxes", "classes"):
        path = home / f"{name}.txt"
        path.rename(home / "moved")
        fails(home, rf"\S+/CUB_200_2011/{name}\.txt does not exist")
        (home / "moved").rename(path)
    shutil.rmtree(home / "parts")
    assert len(hold_out(read_cub200(home), 0).splits) == 3
    fails(home, r"\S+/parts/part_locs\.txt does not exist", marks_from="parts")
    fails(home, r"marks_from 'masks' needs segmentations, which is neither in \S+ nor beside it", marks_from="masks")
    fails(home, r"marks_from must be one of boxes, parts, masks; got 'dots'", marks_from="dots")
    (home / "images.txt").unlink()
    fails(home.parent, r"cub200 was not found in root \S+: there is no \S+/images\.txt or \S+/CUB_200_2011/images\.txt")


def test_missing_images_and_empty_classes_are_named(home):
    (home / path_of(BIRDS[3])).unlink()
    fails(home, r"\S+/Laysan_Albatross_0001_545\.jpg does not exist, though images\.txt lists it")
    rows = (home / "images.txt").read_text().splitlines()
    (home / "images.txt").write_text("\n".join(rows[:3]))
    fails(home, r"class '002\.Laysan_Albatross' has no test image in \S+")


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("bounding_boxes", "3 30.5", "3 x", r"\S+: the box of image 3 must be numbers; got x 20\.0 4\.0 50\.0"),
        ("bounding_boxes", "3 30.5", "3 nan", r"\S+: the box of image 3 must be numbers; got nan 20\.0 4\.0 50\.0"),
        ("bounding_boxes", "3 30.5", "3 90", r"\S+: the box of images/002\S+ lies wholly outside the image .*"),
        ("bounding_boxes", "3 30.5", "3", r"\S+bounding_boxes\.txt: row 3 must have 5 columns; got 4"),
        ("train_test_split", "3 1\n", "", r"\S+/train_test_split\.txt has no row for image 3, images/002\S+"),
        ("image_class_labels", "3 2", "3 7", r"\S+/image_class_labels\.txt gives image 3 a class not in classes\.txt"),
    ],
)
def test_damaged_tables_are_named(home, name, old, new, message):
    path = home / f"{name}.txt"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    fails(home, message)
