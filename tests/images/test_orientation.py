"""EXIF's orientation: every image is read as it is looked at, and so is its size."""

import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from looksharp.images.headers import ImageSizes, read_size
from looksharp.images.orientation import ImageOrientations, read_orientation
from looksharp.images.reading import read_image

UPRIGHT = np.zeros((6, 10, 3), np.uint8)
UPRIGHT[:2, :3] = 255  # a white corner, upper left
UPRIGHT[4:, 7:] = (255, 0, 0)  # a red one, lower right

# The standard's words: where the stored picture's first row and column lie in the upright one.
STORED = {
    1: UPRIGHT,  # top, left
    2: UPRIGHT[:, ::-1],  # top, right
    3: UPRIGHT[::-1, ::-1],  # bottom, right
    4: UPRIGHT[::-1],  # bottom, left
    5: UPRIGHT.swapaxes(0, 1),  # left, top
    6: UPRIGHT.swapaxes(0, 1)[::-1],  # right, top
    7: UPRIGHT[::-1, ::-1].swapaxes(0, 1),  # right, bottom
    8: UPRIGHT.swapaxes(0, 1)[:, ::-1],  # left, bottom
}
FORMATS = {"jpg": {"quality": 100, "subsampling": 0}, "png": {}, "webp": {"lossless": True}, "tif": {}, "avif": {}}


def exif(orientation):
    found = Image.Exif()
    found[0x0112] = orientation
    return found


def stored(path, orientation, **options):
    Image.fromarray(np.ascontiguousarray(STORED[orientation])).save(path, exif=exif(orientation), **options)


def assert_upright(path):
    shown = read_image(path).numpy().transpose(1, 2, 0).astype(int)
    assert shown.shape == UPRIGHT.shape
    middles = shown[1, 1], shown[5, 8], shown[1, 8], shown[5, 1]
    for found, wanted in zip(middles, ([255] * 3, [255, 0, 0], [0] * 3, [0] * 3), strict=True):
        assert np.abs(found - wanted).max() < 40, (path, found, wanted)  # what is lost in compression


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("suffix", FORMATS)
def test_images_and_their_sizes_are_upright(tmp_path, suffix, orientation):
    path = tmp_path / f"a.{suffix}"
    stored(path, orientation, **FORMATS[suffix])
    assert_upright(path)
    assert read_size(path) == (6, 10)
    assert read_orientation(path) == orientation


def test_mappings_are_read_when_asked_for(tmp_path):
    stored(tmp_path / "a.png", 6)
    assert ImageSizes(tmp_path, ["a.png", "missing.png"])["a.png"] == (6, 10)
    assert ImageOrientations(tmp_path, ["a.png", "missing.png"])["a.png"] == 6


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_sizes_need_no_pixels(tmp_path, suffix):
    """All but the header is missing, as in an image that is still being downloaded."""
    path = tmp_path / f"a.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (300, 200, 3), dtype=np.uint8)
    options = {"tif": {"compression": "tiff_deflate"}} | {"jpg": {"quality": 100}}
    Image.fromarray(noise).save(path, exif=exif(8), **options.get(suffix, {}))
    content = path.read_bytes()
    if suffix == "tif":  # whose directory is at its end
        middle = len(content) // 2
        path.write_bytes(content[: middle - 5000] + bytes(10_000) + content[middle + 5000 :])
    else:
        path.write_bytes(content[: len(content) // 2] if suffix != "webp" else content)
    assert read_size(path) == (200, 300)


def test_exif_behind_the_pixels_of_a_png_counts(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.ascontiguousarray(STORED[6])).save(path)
    content = path.read_bytes()
    words = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    chunk = struct.pack(">I", len(words)) + b"eXIf" + words + struct.pack(">I", zlib.crc32(b"eXIf" + words))
    path.write_bytes(content[:-12] + chunk + content[-12:])
    assert_upright(path)
    assert (read_size(path), read_orientation(path)) == ((6, 10), 6)


@pytest.mark.parametrize("found", [0, 9, 77])
def test_other_numbers_mean_upright(tmp_path, found):
    Image.fromarray(UPRIGHT).save(tmp_path / "a.png", exif=exif(found))
    assert_upright(tmp_path / "a.png")
    assert (read_size(tmp_path / "a.png"), read_orientation(tmp_path / "a.png")) == ((6, 10), 1)


def test_damaged_exif_costs_no_image(tmp_path):
    Image.fromarray(UPRIGHT).save(tmp_path / "a.png", exif=exif(6))
    content = (tmp_path / "a.png").read_bytes()
    place = content.index(b"eXIf")
    length = int.from_bytes(content[place - 4 : place])
    broken = b"eXIf" + bytes(range(length))
    (tmp_path / "a.png").write_bytes(
        content[:place] + broken + struct.pack(">I", zlib.crc32(broken)) + content[place + 8 + length :]
    )
    assert_upright(tmp_path / "a.png")
    assert read_size(tmp_path / "a.png") == (6, 10)


def test_grey_and_depth_are_turned_too(tmp_path):
    deep = (UPRIGHT[..., 0].astype(np.uint16) * 257)[:, ::-1]
    for name in ("8.png", "8.tif", "8.jpg"):
        grey = (deep // 257).astype(np.uint8)
        Image.fromarray(np.ascontiguousarray(grey.T[::-1])).save(tmp_path / name, exif=exif(6), quality=100)
        assert np.abs(read_image(tmp_path / name)[1].numpy().astype(int) - grey).max() < 40, name
    for name in ("a.png", "a.tif"):
        Image.fromarray(np.ascontiguousarray(deep.T[::-1])).save(tmp_path / name, exif=exif(6))
        shown = read_image(tmp_path / name, value_range=(0, 65535))
        assert torch.equal(shown[0].as_subclass(torch.Tensor), torch.from_numpy((deep // 257).astype(np.uint8))), name
