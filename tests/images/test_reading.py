"""Image files of every format as RGB bytes."""

import numpy as np
import pytest
import torch
from PIL import Image

from looksharp.images.reading import read_image


def colours():
    picture = np.zeros((6, 5, 3), np.uint8)
    picture[:3, :, 0] = 255
    picture[:, 3:, 2] = 255
    return picture


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK", "P with transparency"])
def test_colour_files_become_rgb(tmp_path, mode):
    image = Image.fromarray(colours()).convert(mode[:1] if mode[0] == "P" else mode)
    if mode == "RGBA":
        image.putalpha(Image.fromarray(np.arange(30, dtype=np.uint8).reshape(6, 5)))
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image.save(path, **({"transparency": bytes([0, 100, 200])} if "with" in mode else {}))
    with Image.open(path) as saved:
        assert saved.mode == mode[:4].split()[0]
    shown = read_image(path)
    assert shown.shape == (3, 6, 5)
    assert shown.dtype == torch.uint8
    assert torch.equal(shown.permute(1, 2, 0).as_subclass(torch.Tensor), torch.from_numpy(colours()))


@pytest.mark.parametrize(
    ("pixels", "name", "expected"),
    [
        (np.array([[0, 7, 255]], np.uint8), "a.png", [0, 7, 255]),
        (np.array([[0, 7, 255]], np.uint8), "a.tif", [0, 7, 255]),
        (np.array([[True, False, True]]), "a.png", [255, 0, 255]),
        (np.array([[0, 255, 256, 65535]], np.uint16), "a.png", [0, 0, 1, 255]),
        (np.array([[0, 255, 256, 65535]], np.uint16), "a.tif", [0, 0, 1, 255]),
    ],
)
def test_grey_files_become_rgb(tmp_path, pixels, name, expected):
    Image.fromarray(pixels).save(tmp_path / name)
    shown = read_image(tmp_path / name)
    assert shown.tolist() == [[expected]] * 3


def test_grey_with_alpha_becomes_rgb(tmp_path):
    Image.fromarray(np.array([[[40, 0], [200, 255]]], np.uint8)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").tolist() == [[[40, 200]]] * 3


def test_damaged_files_are_named_in_one_line(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    files = {tmp_path / "none.png": None, tmp_path / "text.jpg": b"hello\nworld\n", tmp_path / "empty.png": b""}
    for suffix in ("png", "jpg", "gif", "bmp"):
        path = tmp_path / f"whole.{suffix}"
        Image.fromarray(noise).save(path)
        read_image(path)
        content = path.read_bytes()
        files |= {tmp_path / f"{share}.{suffix}": content[: int(len(content) * share)] for share in (0.1, 0.5, 0.8)}
    for path, content in files.items():
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ValueError, match=r"cannot be read as an image: \S+") as caught:
            read_image(path)
        assert str(caught.value).startswith(f"{path} cannot be read as an image: ")
        assert "\n" not in str(caught.value)


def broken_chunk(path):
    Image.fromarray(colours()).save(path)
    return path.read_bytes().replace(b"IDAT", bytes([1, 2, 3, 4]))


def huge_sides(path):
    Image.fromarray(colours()).save(path)
    content = bytearray(path.read_bytes())
    content[18:26] = (100_000).to_bytes(4, "little") * 2  # width and height
    return bytes(content)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("chunk.png", broken_chunk),
        ("huge.bmp", huge_sides),
        ("header.ppm", lambda path: b"P6\n3p 4\n255\n" + bytes(48)),
    ],
)
def test_what_is_no_oserror_of_pil_is_named_too(tmp_path, name, content):
    (tmp_path / name).write_bytes(content(tmp_path / name))
    with pytest.raises(ValueError, match=rf"^.*{name} cannot be read as an image: .+\Z"):
        read_image(tmp_path / name)


def test_floating_point_images_are_refused(tmp_path):
    Image.fromarray(np.zeros((2, 2), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"a\.tif cannot be read as an image: its pixels are floating-point numbers"):
        read_image(tmp_path / "a.tif")
