import numpy as np
import pytest
import torch
from PIL import Image

from looksharp.marks.class_images import palette, read_class_image, write_class_image


def test_the_palette_is_vocs():
    """Colours as the VOC devkit's VOClabelcolormap makes them."""
    expected = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 7: (128, 128, 128), 8: (64, 0, 0), 15: (192, 128, 128)}
    expected |= {20: (0, 64, 128), 255: (224, 224, 192)}
    assert {index: tuple(palette()[index].tolist()) for index in expected} == expected


def test_what_is_written_is_read_by_any_tool(tmp_path):
    labels = torch.randint(0, 21, (7, 9))
    labels[0, 0] = 255
    write_class_image(tmp_path / "deep" / "a.png", labels)
    with Image.open(tmp_path / "deep" / "a.png") as picture:
        assert picture.mode == "P"
        assert np.array_equal(np.asarray(picture), labels.numpy())
        assert picture.convert("RGB").getpixel((0, 0)) == (224, 224, 192)
    assert torch.equal(read_class_image(tmp_path / "deep" / "a.png", 20), labels.to(torch.uint8))


def test_grey_images_are_read_too(tmp_path):
    Image.fromarray(np.array([[0, 2], [1, 255]], dtype=np.uint8)).save(tmp_path / "a.png")
    assert read_class_image(tmp_path / "a.png", 2).tolist() == [[0, 2], [1, 255]]


def test_other_images_are_refused(tmp_path):
    Image.fromarray(np.array([[0, 2], [1, 77]], dtype=np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png must hold indices 0 to 2 of classes, or 255; got index 77$"):
        read_class_image(tmp_path / "a.png", 2)
    Image.fromarray(np.zeros((2, 2, 3), dtype=np.uint8)).save(tmp_path / "b.png")
    with pytest.raises(ValueError, match=r"b\.png must hold class indices, as a grey or palette image; got"):
        read_class_image(tmp_path / "b.png", 2)
    with pytest.raises(ValueError, match=r"^class indices must be 0 to 255; got -1 to 3$"):
        write_class_image(tmp_path / "c.png", torch.tensor([[-1, 3]]))
