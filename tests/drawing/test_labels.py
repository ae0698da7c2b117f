import numpy as np
import pytest
import torch
from PIL import Image

from looksharp.drawing.labels import draw_rows, label_overlay


def test_classes_are_vocs_colours_over_grey():
    image = torch.tensor([0.2, 0.4, 0.9])[:, None, None].expand(3, 200, 200)
    labels = torch.zeros(200, 200)
    labels[:50], labels[150:] = 15, 255
    drawn = label_overlay(image, labels)
    expected = 0.65 * np.array([192, 128, 128]) + 0.35 * 127.5
    assert np.abs(drawn[0, 0] - expected).max() < 1
    assert drawn[100, 0].tolist() == [128, 128, 128]  # the background: grey
    assert drawn[199, 0].tolist() == [51, 102, 230]  # unknown: as it is
    with pytest.raises(ValueError, match=r"^labels must be of the image's size \(200, 200\); got \(3, 3\)$"):
        label_overlay(image, torch.zeros(3, 3))


def test_rows_are_written(tmp_path):
    pixels = np.full((40, 60, 3), 200, dtype=np.uint8)
    draw_rows([[("a", pixels), ("$1 bill", pixels)], [("b", pixels)]], tmp_path / "rows.png")
    with Image.open(tmp_path / "rows.png") as picture:
        assert picture.width > picture.height
        plain = picture.height
    draw_rows([[("a", pixels)]] * 2, tmp_path / "key.png", key={15: "person", 8: "cat"})
    with Image.open(tmp_path / "key.png") as picture:
        below = np.asarray(picture.convert("RGB"))[plain:].reshape(-1, 3)
        assert {(192, 128, 128), (64, 0, 0)} <= set(map(tuple, below.tolist()))  # VOC's person and cat
    with pytest.raises(ValueError, match=r"^rows must hold at least one picture each; got none$"):
        draw_rows([], tmp_path / "rows.png")
