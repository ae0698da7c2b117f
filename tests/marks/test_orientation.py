import json

import numpy as np
import pytest
from PIL import Image, ImageOps

from looksharp.images.orientation import ImageOrientations, read_orientation, swaps_sides
from looksharp.marks.orientation import upright
from looksharp.marks.reading import read_marks

CLASSES = ["cat", "dog"]
STORED = (6, 8)
MASK = np.zeros(STORED, dtype=bool)
MASK[1, 2:5] = MASK[1:4, 2] = True


def photograph(path, orientation):
    """A picture whose stored pixels are white in `MASK`, and say how the camera was held."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(MASK.astype(np.uint8) * 255).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(path, exif=exif)
    return np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("L")) > 127


@pytest.mark.parametrize("orientation", range(1, 9))
def test_masks_turn_as_pillow_turns_the_picture(orientation, tmp_path):
    shown = photograph(tmp_path / "1.png", orientation)
    assert read_orientation(tmp_path / "1.png") == orientation
    np.testing.assert_array_equal(upright(MASK, orientation), shown)
    assert swaps_sides(orientation) == (shown.shape != STORED)


def test_orientations_of_a_folder_are_read_when_asked_for(tmp_path):
    photograph(tmp_path / "a" / "1.png", 6)
    photograph(tmp_path / "2.png", 9)  # no orientation
    Image.new("RGB", (2, 2)).save(tmp_path / "3.bmp")
    found = ImageOrientations(tmp_path, ["a/1.png", "2.png", "3.bmp", "missing.png"])
    assert len(found) == 4
    assert [found[name] for name in list(found)[:3]] == [6, 1, 1]
    assert found.get("other.png") is None
    with pytest.raises(ValueError, match=r"missing\.png cannot be read as an image"):
        found["missing.png"]


def coco(path, size):
    content = {
        "images": [{"id": 1, "file_name": "dog/1.png", "height": size[0], "width": size[1]}],
        "categories": [{"id": 1, "name": "dog"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [2, 1, 3, 1]}],
    }
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
def test_marks_of_stored_pixels_are_turned(orientation, tmp_path):
    photograph(tmp_path / "dog" / "1.png", orientation)
    box = np.zeros(STORED, dtype=bool)
    box[1, 2:5] = True
    expected = upright(box, orientation)
    found = read_marks(
        coco(tmp_path / "a.json", STORED),
        {"dog/1.png": expected.shape},
        CLASSES,
        orientations=ImageOrientations(tmp_path, ["dog/1.png"]),
        stored=True,
    )
    np.testing.assert_array_equal(found.marks[0].mask, expected)
    assert found.marks[0].mask.flags.c_contiguous


def test_a_file_that_speaks_of_the_other_orientation_says_so(tmp_path):
    photograph(tmp_path / "dog" / "1.png", 6)
    turned = {"orientations": ImageOrientations(tmp_path, ["dog/1.png"])}
    images = {"dog/1.png": (8, 6)}  # upright
    path = coco(tmp_path / "a.json", STORED)
    with pytest.raises(
        ValueError,
        match=r"image 'dog/1\.png' is for an image of 6x8 pixels .* has 8x6; that is the image as stored, before its "
        r"EXIF orientation turns it: give --marks_orientation stored$",
    ):
        read_marks(path, images, CLASSES, **turned)
    path = coco(tmp_path / "a.json", (8, 6))
    assert len(read_marks(path, images, CLASSES, **turned).marks) == 1
    with pytest.raises(ValueError, match=r"has 6x8; that is the image upright: leave out --marks_orientation stored$"):
        read_marks(path, images, CLASSES, stored=True, **turned)
    path = coco(tmp_path / "a.json", (12, 16))
    with pytest.raises(ValueError, match=r"has 8x6; mark the image at its own size$"):
        read_marks(path, images, CLASSES, **turned)
