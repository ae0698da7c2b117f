"""Pixels of more than 8 bits: the values that files hold against the bytes they become."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from looksharp.images.reading import read_image

VALUES = [0, 1, 300, 2048, 4095]
TWELVE_BITS = [round(value / 4095 * 255) for value in VALUES]


def png(path, pixels, colour_type):
    """A PNG file of 16 bits a channel: pixels (H, W, channels), colour type 0, 2, 4 or 6."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


def test_12_bits_in_a_16_bit_file_fill_the_bytes_when_their_range_is_stated(tmp_path):
    for name in ("a.png", "a.tif", "a.pgm"):
        Image.fromarray(np.array([VALUES], np.uint16)).save(tmp_path / name)
        assert read_image(tmp_path / name, value_range=(0, 4095)).tolist() == [[TWELVE_BITS]] * 3, name
        assert read_image(tmp_path / name).tolist() == [[[value // 256 for value in VALUES]]] * 3, name


@pytest.mark.parametrize(("colour_type", "channels"), [(2, 3), (6, 4), (4, 2)])
def test_colours_of_16_bits_keep_theirs(tmp_path, colour_type, channels):
    pixels = np.random.default_rng(0).integers(0, 4096, (5, 7, channels))
    png(tmp_path / "a.png", pixels, colour_type)
    shown = read_image(tmp_path / "a.png", value_range=(0, 4095)).numpy().transpose(1, 2, 0)
    colours = pixels[..., :3] if channels > 2 else np.repeat(pixels[..., :1], 3, 2)
    np.testing.assert_array_equal(shown, (colours / 4095 * 255).round())
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").numpy().transpose(1, 2, 0), colours // 256)


def test_colours_of_16_bits_in_tiff_keep_theirs(tmp_path):
    """PIL writes no such file: entries of a directory by hand, three channels of 16 bits."""
    entries = [
        (256, 4, 1, 2),  # width
        (257, 4, 1, 1),  # height
        (258, 3, 3, 122),  # bits a channel, at 122
        (259, 3, 1, 1),  # not compressed
        (262, 3, 1, 2),  # RGB
        (273, 4, 1, 128),  # pixels, at 128
        (277, 3, 1, 3),  # channels
        (278, 4, 1, 1),
        (279, 4, 1, 12),
    ]
    content = b"II*\0" + struct.pack("<IH", 8, len(entries))
    content += b"".join(struct.pack("<HHII", *entry) for entry in entries) + struct.pack("<I", 0)
    content += struct.pack("<3H", 16, 16, 16)
    (tmp_path / "a.tif").write_bytes(content.ljust(128, b"\0") + np.array([0, 300, 4095, 9, 9, 9], "<u2").tobytes())
    assert read_image(tmp_path / "a.tif").tolist() == [[[0, 0]], [[1, 0]], [[15, 0]]]
    shown = read_image(tmp_path / "a.tif", value_range=(0, 4095))
    assert shown.tolist() == [[[0, 1]], [[19, 1]], [[255, 1]]]


def test_integers_of_32_bits_need_their_range(tmp_path):
    Image.fromarray(np.array([[0, 100, 255]], np.int32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"its pixels are 32-bit integers of unknown range, here 0 to 255; state it"):
        read_image(tmp_path / "a.tif")
    assert read_image(tmp_path / "a.tif", value_range=(0, 255)).tolist() == [[[0, 100, 255]]] * 3
    Image.fromarray(np.array([[0, 512, 70000, -3]], np.int32)).save(tmp_path / "a.tif")
    assert read_image(tmp_path / "a.tif", value_range=(0, 65535)).tolist() == [[[0, 2, 255, 0]]] * 3


def test_floating_point_numbers_need_theirs_and_no_number_is_black(tmp_path):
    pixels = np.array([[-1, -0.5, 0, 0.5, 1, 7, np.nan, np.inf, -np.inf]], np.float32)
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    shown = read_image(tmp_path / "a.tif", value_range=(-1, 1))
    assert shown.tolist() == [[[0, 64, 128, 191, 255, 255, 0, 255, 0]]] * 3


def test_a_range_leaves_images_of_8_bits_alone(tmp_path):
    for mode in ("L", "RGB"):
        Image.new(mode, (2, 2), 40 if mode == "L" else (40, 40, 40)).save(tmp_path / "a.png")
        assert set(read_image(tmp_path / "a.png", value_range=(0, 4095)).flatten().tolist()) == {40}
