"""Odd files: opened, or refused in one line, and never waited for."""

import io
import os
import sys
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from looksharp.images import opening
from looksharp.images.headers import read_size
from looksharp.images.look import look_at
from looksharp.images.reading import read_image

FRAMES = [np.full((4, 6, 3), value, np.uint8) for value in (0, 128, 255)]
FRAMES[0][:2] = (255, 0, 0)


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif", "mpo", "avif"])
def test_of_several_pictures_the_first_is_read(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    first, *others = [Image.fromarray(np.repeat(np.repeat(frame, 8, 0), 8, 1)) for frame in FRAMES]
    options = {"webp": {"lossless": True}, "avif": {"quality": 100}, "mpo": {"quality": 100}}.get(suffix, {})
    first.save(path, save_all=True, append_images=others, **options)
    shown = read_image(path).numpy().transpose(1, 2, 0).astype(int)
    assert np.abs(shown[::8, ::8][:, 1:-1] - FRAMES[0][:, 1:-1]).max() < 60  # what is lost in compression at edges
    assert look_at(path).several
    assert read_size(path) == (32, 48)
    first.save(path, **options)
    assert not look_at(path).several


def test_progressive_jpeg_is_read_and_truncated_jpeg_refused(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / "a.jpg"
    for progressive in (True, False):
        Image.fromarray(noise).save(path, quality=100, subsampling=0, progressive=progressive)
        assert np.abs(read_image(path).numpy().transpose(1, 2, 0).astype(int) - noise).max() < 8
        path.write_bytes(path.read_bytes()[:-4000])
        with pytest.raises(ValueError, match=r"a\.jpg cannot be read as an image: .*[tT]runcated"):
            read_image(path)
        assert read_size(path) == (64, 64)


def test_a_long_line_of_pixels(tmp_path):
    line = np.random.default_rng(0).integers(0, 256, (1, 5000, 3), dtype=np.uint8)
    Image.fromarray(line).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").numpy().transpose(1, 2, 0), line)
    assert read_size(tmp_path / "a.png") == (1, 5000)


@pytest.mark.parametrize("function", [read_image, read_size])
def test_bombs_are_refused_in_one_line(tmp_path, function):
    path = tmp_path / "a.png"
    Image.new("1", (20_000, 20_000)).save(path)  # 50 kB
    with pytest.raises(ValueError, match=r"a\.png cannot be read as an image: it has 400000000 pixels, which exceeds"):
        function(path)


@pytest.mark.parametrize("function", [read_image, read_size, look_at])
def test_nobody_waits_for_a_pipe(tmp_path, function):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png cannot be read as an image: it is no regular file$"):
        function(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"cannot be read as an image: it is a folder$"):
        function(tmp_path)
    with pytest.raises(ValueError, match=r"b\.png cannot be read as an image: No such file or directory$"):
        function(tmp_path / "b.png")


@pytest.mark.parametrize(
    "name", ["grün 猫.png", "two\nlines.png", "dots...png", "a.b.", " ", "tab\there.png", "\udcff.png"]
)
def test_any_name_is_read_and_named_in_one_line(tmp_path, name):
    path = tmp_path / name
    with io.BytesIO() as content:
        Image.fromarray(FRAMES[0]).save(content, "PNG")
        path.write_bytes(content.getvalue())
    np.testing.assert_array_equal(read_image(path).numpy().transpose(1, 2, 0), FRAMES[0])
    path.write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"cannot be read as an image: cannot identify its format\Z") as caught:
        read_image(path)
    assert str(caught.value).isprintable()


def test_heic_is_read_where_its_package_is_there(tmp_path, monkeypatch):
    path = tmp_path / "a.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ValueError, match=r"cannot identify its format without pillow-heif: pip install it$"):
        read_image(path)
    asked = []
    package = ModuleType("pillow_heif")
    package.register_heif_opener = lambda: asked.append(True)
    monkeypatch.setitem(sys.modules, "pillow_heif", package)
    with pytest.raises(ValueError, match="cannot identify its format"):
        read_image(path)
    assert asked == [True]


def test_pictures_of_one_colour_are_told(tmp_path):
    for number, mode in enumerate(["L", "RGB", "P", "CMYK", "1", "I;16"]):
        path = tmp_path / f"{number}.tif"
        Image.new(mode, (5, 5), 1 if len(mode) < 3 or mode == "I;16" else (1,) * len(mode)).save(path)
        assert look_at(path).constant, mode
    Image.fromarray(FRAMES[0]).save(tmp_path / "a.png")
    assert not look_at(tmp_path / "a.png").constant


def test_the_largest_value_of_16_bits_is_told(tmp_path):
    Image.fromarray(np.array([[7, 4095]], np.uint16)).save(tmp_path / "a.png")
    assert look_at(tmp_path / "a.png").highest == 4095
    Image.fromarray(np.array([[7, 255]], np.uint8)).save(tmp_path / "a.png")
    assert look_at(tmp_path / "a.png").highest is None


def test_one_line():
    assert opening.one_line("a\r\n\x00b\x1b[0m") == "a\\r\\n\\x00b\\x1b[0m"
