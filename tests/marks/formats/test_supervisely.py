import json

import numpy as np
import pytest

from looksharp.marks.reading import read_marks

IMAGES = {"train/1.jpg": (6, 8), "val/2.jpg": (6, 8)}
CLASSES = ["cat", "dog"]


@pytest.fixture
def read(tmp_path):
    def read(*objects, name="train/ann/1.jpg.json", size=(6, 8)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        content = {"description": "", "tags": [], "size": {"height": size[0], "width": size[1]}, "objects": objects}
        (tmp_path / name).write_text(json.dumps(content))
        return read_marks(tmp_path, IMAGES, CLASSES)

    return read


def shape(kind, exterior=(), interior=(), label="dog", **more):
    return {
        "classTitle": label,
        "geometryType": kind,
        "points": {"exterior": [*exterior], "interior": [*interior]},
    } | more


def square(low, high):
    return [[low, low], [high, low], [high, high], [low, high]]


def test_polygons_have_holes(read):
    (found,) = read(shape("polygon", square(0, 5), [square(1, 4), square(4, 5)])).marks
    expected = np.zeros((6, 8), dtype=bool)
    expected[:5, :5] = True
    expected[1:4, 1:4] = expected[4, 4] = False
    assert (found.image, found.label) == ("train/1.jpg", "dog")
    np.testing.assert_array_equal(found.mask, expected)


def test_the_image_has_the_files_name_without_its_last_suffix(read):
    found = read(shape("rectangle", [[0, 0], [1, 1]]), name="val/ann/2.jpg.json")
    assert [mark.image for mark in found.marks] == ["val/2.jpg"]
    found = read(shape("rectangle", [[0, 0], [1, 1]]), name="val/ann/9.jpg.json")
    assert found.skipped == {"image not in the data": 1}


def test_the_folder_called_ann_alone_is_read(read, tmp_path):
    read(shape("rectangle", [[0, 0], [1, 1]]), name="val/ann/2.jpg.json")
    (found,) = read_marks(tmp_path / "val/ann", IMAGES, CLASSES).marks
    assert (found.image, found.label, found.mask.sum()) == ("val/2.jpg", "dog", 4)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (shape("point", [[1, 1]]), r"object 1 is a 'point', which marks no area; draw a rectangle, polygon or bitmap"),
        (shape("graph"), r"object 1 is a 'graph', which marks no area"),
        (shape("cloud"), r"object 1 is a 'cloud', which is not known"),
        (shape("rectangle", [[1, 1]]), r"must have two points for a rectangle; got 1"),
        (shape("polygon", [[1, "x"]]), r"must have points with exterior \[\[x, y\], \.\.\.\] and interior rings"),
        (shape("bitmap", bitmap={"origin": [0, 0], "data": "%%"}), r"must have a bitmap with origin and data, a PNG"),
        (shape("bitmap"), r"must have a bitmap with origin and data, a PNG; export it again"),
        ({"geometryType": "rectangle"}, r"object 1 must have a classTitle; export it again"),
        (shape("rectangle", [[0, 0], [1, 1]], label="cow"), r"class not in the data: 1"),
    ],
)
def test_objects_that_fit_not_are_refused(read, bad, message):
    with pytest.raises(ValueError, match=message) as caught:
        read(bad)
    assert "1.jpg.json" in str(caught.value)


def test_an_image_of_another_size_is_refused(read):
    with pytest.raises(ValueError, match=r"1\.jpg\.json is for an image of 12x16 pixels .* train/1\.jpg has 6x8"):
        read(shape("rectangle", [[0, 0], [1, 1]]), size=(12, 16))
