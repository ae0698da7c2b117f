"""Pictures of images: upright, kept, and made anew where the file has changed."""

import io
import os

import numpy as np
import pytest
import torch
from PIL import Image

from looksharp.data.folder import read_folder
from looksharp.data.splits.memory import TensorSplit
from looksharp.studio import thumbnails
from looksharp.studio.thumbnails import Thumbnails


@pytest.fixture
def split(tmp_path):
    """An image stored lying, its left half red, shown upright: red above."""
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.zeros((200, 400, 3), np.uint8)
    pixels[:, :200, 0] = 255
    for name in ("train", "val"):
        for label in ("a", "b"):
            (tmp_path / "images" / name / label).mkdir(parents=True)
            Image.fromarray(pixels).save(tmp_path / "images" / name / label / "0.jpg", exif=exif, quality=95)
    return read_folder(tmp_path / "images").splits["train"]


def opened(content):
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.format == "WEBP"
        return np.asarray(picture.convert("RGB")).astype(int)


@pytest.mark.parametrize(("side", "size"), [(160, (160, 80)), (640, (400, 200)), (0, (400, 200))])
def test_pictures_are_upright_and_of_the_side_that_is_asked_for(tmp_path, split, side, size):
    shown = opened(Thumbnails(tmp_path / "kept").of("train", split, 0, side))
    assert shown.shape == (*size, 3)
    top, bottom = shown[: size[0] // 2 - 4].mean((0, 1)), shown[size[0] // 2 + 4 :].mean((0, 1))
    assert top == pytest.approx((255, 0, 0), abs=8)
    assert bottom == pytest.approx((0, 0, 0), abs=8)


def test_thumbnails_are_kept_until_the_file_changes(tmp_path, split, monkeypatch):
    kept = Thumbnails(tmp_path / "kept")
    first = kept.of("train", split, 0, 160)
    (path,) = (tmp_path / "kept").rglob("*.webp")
    assert path.read_bytes() == first
    monkeypatch.setattr(thumbnails, "_picture", lambda *given: b"made again")
    assert kept.of("train", split, 0, 160) == first
    os.utime(split.root / split.paths[0], (1, 1))
    assert kept.of("train", split, 0, 160) == b"made again"
    kept.of("train", split, 1, 0)
    assert len(list((tmp_path / "kept").rglob("*.webp"))) == 2  # the whole image is not kept


def test_a_huge_image_is_shown_as_large_as_a_browser_takes(tmp_path):
    held = TensorSplit(torch.tensor([0]), images=torch.zeros(1, 3, 2, 20_000, dtype=torch.uint8))
    assert opened(Thumbnails(tmp_path).of("train", held, 0, 0)).shape == (1, 4096, 3)
    assert list(tmp_path.iterdir()) == []  # images in memory are not kept either


def test_what_there_is_not_is_one_line(tmp_path, split):
    kept = Thumbnails(tmp_path / "kept")
    for index, side in ((2, 160), (-1, 160), (0, 161)):
        with pytest.raises(ValueError, match="train has 2 images, of sides 0, 160, 640"):
            kept.of("train", split, index, side)
    (split.root / split.paths[0]).unlink()
    with pytest.raises(ValueError, match="No such file"):
        kept.of("train", split, 0, 160)
