"""Colour modes and profiles, each against a formula of its own."""

import struct

import numpy as np
import pytest
from PIL import Image

from looksharp.images.reading import read_image

INK = np.array([[10, 20, 30, 40], [0, 0, 0, 0], [255, 128, 0, 0], [9, 9, 9, 255]], np.uint8)  # CMYK


def shown(path):
    return read_image(path).numpy().transpose(1, 2, 0).astype(int)


def of_ink(ink):
    """RGB that is left of white behind each ink and black."""
    cyan_magenta_yellow, black = ink[..., :3].astype(float), ink[..., 3:].astype(float)
    return (255 - cyan_magenta_yellow) * (255 - black) / 255


def write_cmyk(path):
    wide = np.repeat(np.repeat(INK[:, None], 16, 0), 16, 1)  # whole blocks of JPEG
    picture = Image.frombytes("CMYK", (16, 64), wide.tobytes())
    picture.save(path, quality=100, subsampling=0)


def test_cmyk_of_adobe_is_inverted_and_of_others_is_not(tmp_path):
    path = tmp_path / "a.jpg"
    write_cmyk(path)
    assert np.abs(shown(path)[8::16, 8] - of_ink(INK)).max() < 6
    content = path.read_bytes()
    place = content.index(b"\xff\xee")  # Adobe's marker
    length = int.from_bytes(content[place + 2 : place + 4])
    path.write_bytes(content[:place] + content[place + 2 + length :])
    assert np.abs(shown(path)[8::16, 8] - of_ink(255 - INK)).max() < 6


def test_cmyk_of_tiff(tmp_path):
    Image.frombytes("CMYK", (2, 2), INK.tobytes()).save(tmp_path / "a.tif")
    assert np.abs(shown(tmp_path / "a.tif").reshape(4, 3) - of_ink(INK)).max() < 2


def s15(value):
    return struct.pack(">i", round(value * 65536))


def icc(primaries, description="Display P3"):
    """A colour profile of matrix and curve (ICC.1:2022, sec. 8.3), its curve that of sRGB."""

    def text(words):
        encoded = words.encode("utf-16-be")
        return b"mluc" + struct.pack(">IIIHHII", 0, 1, 12, 0x656E, 0x5553, len(encoded), 28) + encoded

    curve = b"para" + struct.pack(">IHH", 0, 3, 0)
    curve += b"".join(map(s15, (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)))
    tags = {b"desc": text(description), b"cprt": text("none"), b"wtpt": (0.9642, 1.0, 0.8249)}
    tags |= dict(zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True))
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    table, body = struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        content = value if isinstance(value, bytes) else b"XYZ " + bytes(4) + b"".join(map(s15, value))
        table += name + struct.pack(">II", 128 + 4 + 12 * len(tags) + len(body), len(content))
        body += content.ljust(-(-len(content) // 4) * 4, b"\0")
    header = struct.pack(
        ">I4sI4s4s4s", 132 + 12 * len(tags) + len(body), b"none", 0x04400000, b"mntr", b"RGB ", b"XYZ "
    )
    header += struct.pack(">6H4s4sI4sIQI", 2026, 1, 1, 0, 0, 0, b"acsp", b"APPL", 0, b"none", 0, 0, 0)
    header += b"".join(map(s15, (0.9642, 1.0, 0.8249)))
    return header.ljust(128, b"\0") + table + body


P3 = ((0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407))  # for D50
TO_SRGB = np.array([[1.2249, -0.2247, 0], [-0.0420, 1.0419, 0], [-0.0197, -0.0786, 1.0979]])  # of linear light
COLOURS = np.array([[200, 100, 50], [30, 200, 60], [255, 255, 255], [120, 120, 120], [90, 80, 160]], np.uint8)


def linear(encoded):
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def encoded(light):
    light = light.clip(0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "jpg"])
def test_display_p3_becomes_srgb(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    wide = np.repeat(np.repeat(COLOURS[:, None], 16, 0), 16, 1)
    options = {"jpg": {"quality": 100, "subsampling": 0}, "webp": {"lossless": True}}.get(suffix, {})
    Image.fromarray(wide).save(path, icc_profile=icc(P3), **options)
    expected = encoded(linear(COLOURS / 255) @ TO_SRGB.T) * 255
    assert np.abs(shown(path)[8::16, 8] - expected).max() < (3 if suffix == "jpg" else 2)
    assert np.abs(expected - COLOURS).max() > 10


@pytest.mark.parametrize("profile", [icc(P3, "sRGB IEC61966-2.1"), b"no profile", icc(P3)[:200]])
def test_colours_stay_where_the_profile_is_srgb_or_damaged(tmp_path, profile):
    Image.fromarray(COLOURS[None]).save(tmp_path / "a.png", icc_profile=profile)
    np.testing.assert_array_equal(shown(tmp_path / "a.png")[0], COLOURS)


def test_profiles_hold_for_palettes_and_not_for_grey_of_another_space(tmp_path):
    Image.fromarray(COLOURS[None]).convert("P", palette=Image.Palette.ADAPTIVE).save(
        tmp_path / "a.png", icc_profile=icc(P3)
    )
    expected = encoded(linear(COLOURS / 255) @ TO_SRGB.T) * 255
    assert np.abs(shown(tmp_path / "a.png")[0] - expected).max() < 3
    Image.fromarray(COLOURS[None, :, 0]).save(tmp_path / "b.png", icc_profile=icc(P3))
    assert shown(tmp_path / "b.png")[0].tolist() == [[grey] * 3 for grey in COLOURS[:, 0].tolist()]


def test_cielab_becomes_srgb(tmp_path):
    lab = np.array([[[138, 0, 0], [255, 0, 0], [0, 0, 0]]], np.uint8)  # L of 54, 100 and 0 of 100
    Image.frombytes("LAB", (3, 1), lab.tobytes()).save(tmp_path / "a.tif")
    lightness = 138 / 255 * 100
    grey = encoded(np.array(((lightness + 16) / 116) ** 3)) * 255
    np.testing.assert_allclose(shown(tmp_path / "a.tif")[0], [[grey] * 3, [255] * 3, [0] * 3], atol=1.5)


@pytest.mark.parametrize("suffix", ["png", "gif", "webp"])
def test_transparent_palettes_show_their_colours(tmp_path, suffix):
    picture = Image.fromarray(COLOURS[None]).convert("P", palette=Image.Palette.ADAPTIVE)
    picture.save(
        tmp_path / f"a.{suffix}", transparency=2, **({"lossless": True, "exact": True} if suffix == "webp" else {})
    )
    assert np.abs(shown(tmp_path / f"a.{suffix}")[0] - COLOURS).max() <= 1


def test_one_bit_and_grey_with_alpha(tmp_path):
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "1.tif")
    assert shown(tmp_path / "1.tif").tolist() == [[[255] * 3, [0] * 3]]
    Image.frombytes("LA", (2, 1), bytes([40, 0, 200, 255])).save(tmp_path / "la.webp", lossless=True, exact=True)
    Image.frombytes("LA", (2, 1), bytes([40, 0, 200, 255])).save(tmp_path / "la.tif")
    for name in ("la.webp", "la.tif"):
        assert shown(tmp_path / name).tolist() == [[[40] * 3, [200] * 3]], name
