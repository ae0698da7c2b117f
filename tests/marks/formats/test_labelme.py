import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from looksharp.marks.reading import read_marks

IMAGES = {"train/dog/1.png": (6, 8), "train/cat/1.png": (6, 8), "train/cat/2.png": (5, 10)}
CLASSES = ["cat", "dog"]
DOG_1, CAT_1, CAT_2 = IMAGES


def shape(kind, points, label="dog", **more):
    """As LabelMe 5 writes it."""
    return {
        "label": label,
        "points": points,
        "group_id": None,
        "description": "",
        "shape_type": kind,
        "flags": {},
        "mask": None,
    } | more


def content(*shapes, path="1.png", size=(6, 8)):
    return {
        "version": "5.5.0",
        "flags": {},
        "shapes": list(shapes),
        "imagePath": path,
        "imageData": None,
        "imageHeight": size[0],
        "imageWidth": size[1],
    }


@pytest.fixture
def read(tmp_path):
    def read(*shapes, file="1.json", path="dog/1.png", size=(6, 8), images=IMAGES):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(json.dumps(content(*shapes, path=path, size=size)))
        return read_marks(tmp_path / file, images, CLASSES)

    return read


def drawn(picture):
    return np.array([[character == "#" for character in line] for line in picture.split()])


def test_polygons(read):
    expected = drawn("..#####. ...####. ....###. .....##. ......#. ........")
    triangle = [[1.3, 0], [7, 0], [7, 5.7]]
    for kind in ("polygon", None):  # old files have no type
        found = read(shape(kind, triangle))
        assert [(a.image, a.label) for a in found.marks] == [(DOG_1, "dog")]
        np.testing.assert_array_equal(found.marks[0].mask, expected)
        assert found.skipped == {}


@pytest.mark.parametrize("corners", [[[1.4, 0.6], [3.7, 4.3]], [[3.7, 0.6], [1.4, 4.3]], [[3.7, 4.3], [1.4, 0.6]]])
def test_rectangles_have_any_two_corners(read, corners):
    (found,) = read(shape("rectangle", corners)).marks
    np.testing.assert_array_equal(found.mask, drawn("........ .###.... .###.... .###.... ........ ........"))


@pytest.mark.parametrize("kind", ["rectangle", "oriented_rectangle", "rotation"])
def test_rectangles_of_four_corners(read, kind):
    (found,) = read(shape(kind, [[2, 1], [6, 1], [6, 4], [2, 4]])).marks
    np.testing.assert_array_equal(found.mask, drawn("........ ..####.. ..####.. ..####.. ........ ........"))


def test_circles(read):
    (found,) = read(shape("circle", [[4, 3], [4, 5.2]])).marks
    for row in range(6):
        for column in range(8):
            inside = (column + 0.5 - 4) ** 2 + (row + 0.5 - 3) ** 2 <= 2.2**2
            assert found.mask[row, column] == inside


def painted(mask):
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()


PAINTED = drawn("##. ..# #.#")


@pytest.mark.parametrize("pixels", [PAINTED, PAINTED.astype(np.uint8), PAINTED.astype(np.uint8) * 255])
def test_masks_lie_in_their_box(read, pixels):
    (found,) = read(shape("mask", [[2.0, 1.0], [4.0, 3.0]], mask=painted(pixels))).marks
    np.testing.assert_array_equal(found.mask, drawn("........ ..##.... ....#... ..#.#... ........ ........"))


@pytest.mark.parametrize(
    ("corner", "expected"),
    [
        ([-1, -2], ".#...... ........ ........ ........ ........ ........"),
        ([6, 4], "........ ........ ........ ........ ......## ........"),
    ],
)
def test_masks_over_the_border_are_clipped_and_counted(read, corner, expected):
    opposite = [corner[0] + 2, corner[1] + 2]
    found = read(shape("mask", [corner, opposite], mask=painted(PAINTED)))
    np.testing.assert_array_equal(found.marks[0].mask, drawn(expected))
    assert found.skipped == {"clipped to the image": 1}


def test_a_folder_laid_out_like_the_images(tmp_path):
    for folder, path in {"train/dog": "1.png", "train/cat": "..\\photos\\1.png"}.items():
        (tmp_path / folder).mkdir(parents=True)
        label = folder.rpartition("/")[2]
        text = json.dumps(content(shape("rectangle", [[0, 0], [1, 1]], label), path=path))
        (tmp_path / folder / "1.json").write_text(text)
    with pytest.raises(ValueError, match=r"'1' must mean one image, but fits 2"):  # photos/1.png names no folder
        read_marks(tmp_path, IMAGES, CLASSES)
    (tmp_path / "train/cat/1.json").write_text(text.replace("..\\\\photos\\\\", ".\\\\"))
    Image.new("RGB", (8, 6)).save(tmp_path / "train/dog/1.png")  # as LabelMe keeps them
    found = read_marks(tmp_path, IMAGES, CLASSES)
    assert [(a.image, a.label) for a in found.marks] == [(CAT_1, "cat"), (DOG_1, "dog")]


def test_one_folder_for_all_images(tmp_path):
    for number, path in enumerate(("../images/2.jpg", "nothing.jpg")):
        text = json.dumps(content(shape("rectangle", [[0, 0], [10, 5]], "cat"), path=path, size=(5, 10)))
        (tmp_path / f"{number}.json").write_text(text)
    found = read_marks(tmp_path, IMAGES, CLASSES)
    assert [(a.image, a.label, a.mask.all()) for a in found.marks] == [(CAT_2, "cat", True)]
    assert found.skipped == {"image not in the data": 1}


def test_what_is_left_out_or_changed_is_counted(read):
    found = read(
        shape("rectangle", [[0, 0], [1, 1]]),
        shape("rectangle", [[0, 0], [1, 1]], "person"),
        shape("rectangle", [[2, 2], [2, 5]]),
        shape("rectangle", [[5, 5], [12, 9]]),
        shape("polygon", [[0, 0], [3, 0], [6, 0]]),
        shape("circle", [[3, 3], [3, 3]]),
        shape("line", [[0, 0], [3, 3]]),
        shape("point", [[0, 0]]),
        shape("linestrip", [[0, 0], [3, 3], [5, 3]]),
        shape("mask", [[0, 0], [1, 1]], mask=painted(np.zeros((2, 2), dtype=bool))),
    )
    assert found.skipped == {
        "class not in the data": 1,
        "empty box": 1,
        "clipped to the image": 1,
        "empty mask": 6,
    }
    np.testing.assert_array_equal(found.marks[0].mask, drawn("#....... ........ ........ ........ ........ .....###"))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (shape("rectangle", [[9, 0], [12, 3]]), r"1\.json: shape 1 lies wholly outside the image train/dog/1\.png of"),
        (shape("polygon", [[9, 0], [12, 3], [12, 0]]), r"shape 1 lies wholly outside the image"),
        (shape("circle", [[20, 3], [20, 4]]), r"shape 1 lies wholly outside the image"),
        (shape("mask", [[8, 0], [10, 2]], mask=painted(PAINTED)), r"shape 1 lies wholly outside the image"),
        (shape("circle", [[float("nan"), 3], [4, 4]]), r"shape 1 has edges .*nan.*; expected finite numbers"),
        (shape("cuboid", [[0, 0], [1, 1]]), r"shape 1 has the type 'cuboid'; expected polygon, rectangle, .*; draw it"),
        (
            shape("polygon", [[0, 0], [1, 1]]),
            r"shape 1 must have 3 or more points \[x, y\] for a polygon; got \[\[0, 0",
        ),
        (shape("circle", [[0, 0], [1, 1], [2, 2]]), r"shape 1 must have 2 points \[x, y\] for a circle; got"),
        (shape("rectangle", [[0, 0], [1]]), r"shape 1 must have 2 or more points \[x, y\] for a rectangle; got"),
        (shape("rectangle", None), r"shape 1 must have 2 or more points .*; got None; save it again$"),
        (shape("mask", [[0, 0], [2, 2]]), r"shape 1 must have a mask, a PNG in base64, but it cannot be read; save"),
        (shape("mask", [[0, 0], [2, 2]], mask="%%"), r"must have a mask, a PNG in base64"),
        ({"points": [[0, 0], [1, 1]]}, r"shape 1 must have a label and points; got \{'points'"),
        ("dog", r"shape 1 must have a label and points; got dog; save it again$"),
        (
            shape("line", [[0, 0], [3, 3]]),
            r"holds no mark that can be used \(empty mask: 1 \(first .*shape 1\)\)",
        ),
    ],
)
def test_shapes_that_fit_not_are_refused(read, bad, message):
    with pytest.raises(ValueError, match=message) as caught:
        read(bad)
    assert "\n" not in str(caught.value)


def test_an_image_of_another_size_is_refused(read):
    with pytest.raises(
        ValueError, match=r"1\.json is for an image of 12x16 pixels .* the image train/dog/1\.png has 6x8"
    ):
        read(shape("rectangle", [[0, 0], [1, 1]]), size=(12, 16))
    assert read(shape("rectangle", [[0, 0], [1, 1]]), size=(0, 0)).skipped == {}


def test_two_files_of_one_image_are_refused(tmp_path):
    for name in "ab":
        text = json.dumps(content(shape("rectangle", [[0, 0], [1, 1]]), path="dog/1.png"))
        (tmp_path / f"{name}.json").write_text(text)
    with pytest.raises(
        ValueError, match=r"b\.json and .*a\.json both mean the image train/dog/1\.png; expected one fi"
    ):
        read_marks(tmp_path, IMAGES, CLASSES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"b\.json is not JSON: .*; expected a LabelMe file; save it again"),
        ("[]", r"b\.json is not a LabelMe file: expected 'shapes' and 'imagePath'; take it out of the folder"),
        ('{"shapes": {}, "imagePath": "1.png"}', r"b\.json is not a LabelMe file"),
        ('{"shapes": [], "imagePath": null}', r"b\.json is not a LabelMe file"),
    ],
)
def test_other_files_in_the_folder_are_refused(tmp_path, text, message):
    (tmp_path / "a.json").write_text(json.dumps(content(path="dog/1.png")))
    (tmp_path / "b.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_marks(tmp_path, IMAGES, CLASSES)
