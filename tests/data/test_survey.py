"""What is said of pictures before they are trained on."""

import numpy as np
import pytest
from PIL import Image

from looksharp.data.build import DataConfig, build_data


@pytest.fixture
def folder(tmp_path):
    """Ten pictures of noise in train, and two in test."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 5), ("test", 1)):
        for label in ("a", "b"):
            (tmp_path / split / label).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / split / label / f"{number}.png")
    return tmp_path


def deep(folder, highest, dtype=np.uint16):
    for number, path in enumerate(sorted(folder.rglob("*.png"))):
        pixels = np.linspace(0, highest, 64).reshape(8, 8).astype(dtype)
        path.unlink()
        Image.fromarray(np.roll(pixels, number)).save(path.with_suffix(".tif"))


def test_nothing_is_said_of_ordinary_pictures(folder):
    assert build_data(DataConfig(str(folder))).notes == {}


def test_pictures_of_one_colour_are_counted_and_named(folder):
    for name in ("train/a/1.png", "train/b/3.png", "test/b/0.png"):
        Image.new("RGB", (8, 8), (7, 9, 11)).save(folder / name)
    notes = build_data(DataConfig(str(folder), val_share=0)).notes
    assert notes == {
        "pictures of one colour in train, such as train/a/1.png": 2,
        "pictures of one colour in val, such as test/b/0.png": 1,
    }


def test_animations_are_counted_and_named(folder):
    frames = [Image.new("L", (8, 8), value) for value in (0, 90, 200)]
    frames[0].putpixel((1, 1), 255)
    frames[0].save(folder / "train" / "b" / "z.gif", save_all=True, append_images=frames[1:])
    (note,) = build_data(DataConfig(str(folder), val_share=0, image_size=8)).notes.items()
    assert note == (
        "animations or files of several pictures, of which the first is read in train, such as train/b/z.gif",
        1,
    )


def test_large_sets_are_looked_at_here_and_there(folder, monkeypatch):
    monkeypatch.setattr("looksharp.data.survey._LOOKED_AT", 3)
    for path in folder.rglob("*.png"):
        Image.new("RGB", (8, 8)).save(path)
    notes = build_data(DataConfig(str(folder), val_share=0)).notes
    assert notes["pictures of one colour among 3 looked at in train, such as train/a/0.png"] == 3


def test_fewer_large_pictures_are_looked_at(folder, monkeypatch):
    monkeypatch.setattr("looksharp.data.survey._LEAST", 2)
    monkeypatch.setattr("looksharp.data.survey._PIXELS", 4 * 64 - 1)
    for path in folder.rglob("*.png"):
        Image.new("RGB", (8, 8)).save(path)
    notes = build_data(DataConfig(str(folder), val_share=0)).notes
    (note,) = (note for note in notes if " in train, " in note)
    assert note.startswith("pictures of one colour among 4 looked at in train, such as ")
    assert notes[note] == 4


@pytest.mark.parametrize(("highest", "stated"), [(4095, "0,4095"), (3000, "0,4095"), (200, "0,255"), (9000, "0,16383")])
def test_deep_pictures_that_would_be_black_are_refused_with_their_mend(folder, highest, stated):
    deep(folder, highest)
    message = (
        rf"^images of 16 bits a channel, such as .*\.tif, use no value above {highest:,} and would come out nearly "
    )
    with pytest.raises(ValueError, match=message + rf"black; give --range {stated}, or --range 0,65535 to read them"):
        build_data(DataConfig(str(folder)))
    low, high = map(float, stated.split(","))
    data = build_data(DataConfig(str(folder), range=(low, high)))
    assert data.pixels.value_range == (low, high)
    for split in data.splits.values():
        brightest = max(int(split.image(place).max()) for place in range(len(split)))
        assert brightest == round(highest / high * 255)
    dark = build_data(DataConfig(str(folder), range=(0.0, 65535.0))).splits["test"]
    assert int(dark.image(0).max()) == round(highest / 65535 * 255)


def test_deep_pictures_that_use_their_bits_are_read_as_they_are(folder):
    deep(folder, 65535)
    data = build_data(DataConfig(str(folder)))
    assert (data.notes, int(data.splits["test"].image(0).max())) == ({}, 255)


def test_damaged_files_are_left_to_who_reads_them(folder):
    (folder / "train" / "a" / "1.png").write_bytes(b"no image")
    assert build_data(DataConfig(str(folder), val_share=0)).notes == {}


def test_a_range_is_low_and_high_and_of_files(folder):
    with pytest.raises(ValueError, match=r"^range must be LOW,HIGH, the first below the second; got \(5\.0, 5\.0\)$"):
        DataConfig(str(folder), range=(5, 5))
    for name, value in (("range", (0, 4095)), ("image_size", 64), ("crop_share", 0.5)):
        with pytest.raises(ValueError, match=f"^{name} is for data sets of image files; digits is held in memory$"):
            build_data(DataConfig("digits", settings={"train": 10, "val": 2, "test": 2}, **{name: value}))
