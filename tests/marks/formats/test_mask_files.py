import numpy as np
import pytest
from PIL import Image

from looksharp.marks.reading import read_marks

IMAGES = {
    "train/dog/1.jpg": (4, 6),
    "train/cat/1.jpg": (4, 6),
    "train/dog/2.jpeg": (4, 6),
    "val/cow/7.png": (4, 6),
}
CLASSES = ["cat", "dog"]
OBJECT = np.zeros((4, 6), dtype=bool)
OBJECT[1:3, 2:5] = True
OBJECT[1, 3] = False


@pytest.fixture
def save(tmp_path):
    def save(pixels, name="train/dog/1.png", **options):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
        picture.save(path, **options)
        return tmp_path

    return save


def palette(pixels, colours=(0, 0, 0, 128, 0, 0)):
    picture = Image.fromarray(pixels.astype(np.uint8))
    picture.putpalette(list(colours))
    return picture


def rgba(colour, alpha):
    return np.dstack([*(OBJECT * channel for channel in colour), np.broadcast_to(alpha, OBJECT.shape)]).astype(np.uint8)


WAYS = {
    "0 and 1": OBJECT.astype(np.uint8),
    "0 and 255": OBJECT.astype(np.uint8) * 255,
    "128 and 127": np.where(OBJECT, 128, 127).astype(np.uint8),
    "1 bit": OBJECT,
    "16 bits": OBJECT.astype(np.uint16) * 3,
    "palette": palette(OBJECT * 1),
    "palette, void": palette(OBJECT * 255, (0, 0, 0) * 256),
    "red": (OBJECT[..., None] * np.array([200, 0, 0])).astype(np.uint8),
    "colour of 0 and 1": np.dstack([OBJECT] * 3).astype(np.uint8),
    "white on nothing": rgba((255, 255, 255), OBJECT * 255),
    "white on black": rgba((255, 255, 255), 255),
    "transparent white around": np.dstack([np.full((4, 6, 3), 255), OBJECT * 255]).astype(np.uint8),
    "grey with alpha": Image.merge("LA", [Image.fromarray(OBJECT.astype(np.uint8) * 255), Image.new("L", (6, 4), 255)]),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_object_in_every_kind_of_mask(save, way):
    found = read_marks(save(WAYS[way]), IMAGES, CLASSES)
    (annotation,) = found.marks
    assert (annotation.image, annotation.label, found.skipped) == ("train/dog/1.jpg", "dog", {})
    assert annotation.mask.dtype == np.bool_
    np.testing.assert_array_equal(annotation.mask, OBJECT)


@pytest.mark.parametrize("suffix", ["jpg", "bmp", "webp", "tif", "gif", "PNG"])
def test_formats_other_than_png(save, suffix):
    block = np.kron(np.array([[0, 1], [0, 0]], dtype=np.uint8), np.full((16, 16), 255, dtype=np.uint8))
    found = read_marks(save(block, f"train/dog/1.{suffix}"), {"train/dog/1.jpg": (32, 32)}, CLASSES)
    np.testing.assert_array_equal(found.marks[0].mask, block > 0)  # JPEG's noise does not show


@pytest.mark.parametrize(
    ("name", "image", "label"),
    [
        ("train/cat/1.png", "train/cat/1.jpg", "cat"),
        ("cat/1.png", "train/cat/1.jpg", "cat"),  # a folder as torchvision's ImageFolder reads, of masks alone
        ("2.png", "train/dog/2.jpeg", "dog"),
    ],
)
def test_a_mask_has_its_images_path_or_the_end_of_it(save, name, image, label):
    (found,) = read_marks(save(OBJECT, name), IMAGES, CLASSES).marks
    assert (found.image, found.label) == (image, label)


def test_the_class_is_the_nearest_folder_with_a_classs_name(save):
    images = {"train/dog/small/1.jpg": (4, 6), "train/cat/dog/2.jpg": (4, 6)}
    save(OBJECT, "train/dog/small/1.png")
    found = read_marks(save(OBJECT, "train/cat/dog/2.png"), images, ["train", "cat", "dog"])
    assert [(a.image, a.label) for a in found.marks] == [
        ("train/cat/dog/2.jpg", "dog"),
        ("train/dog/small/1.jpg", "dog"),
    ]


def test_what_is_left_out_is_counted(save, tmp_path):
    for name in ("train/dog/1.png", "train/dog/9.png", "val/cow/7.png"):
        save(OBJECT, name)
    save(~OBJECT & False, "train/cat/1.png")
    save(np.full((4, 6), 100, dtype=np.uint8), "train/dog/2.png")
    (tmp_path / "README.txt").touch()
    (tmp_path / ".DS_Store").touch()
    found = read_marks(tmp_path, IMAGES, CLASSES)
    assert [a.image for a in found.marks] == ["train/dog/1.jpg"]
    assert found.skipped == {
        "image not in the data": 1,
        "class not in the data": 1,
        "empty mask": 2,
        "not an image file": 1,
    }


def test_a_mask_of_another_size_is_refused_with_both_sizes_and_files(save):
    message = r"train/dog/1.png is for an image of 6x4 pixels \(height x width\), but the image train/dog/1.jpg has 4x6"
    with pytest.raises(ValueError, match=message):
        read_marks(save(OBJECT.T), IMAGES, CLASSES)


def test_a_palette_that_starts_with_another_colour_is_refused(save):
    with pytest.raises(
        ValueError, match=r"train/dog/1.png has a palette whose first colour is not black, .* greyscale"
    ):
        read_marks(save(palette(OBJECT * 1, (255, 255, 255, 0, 0, 0))), IMAGES, CLASSES)


def test_a_file_that_is_no_image_is_refused(save, tmp_path):
    save(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8))
    whole = (tmp_path / "train/dog/1.png").read_bytes()
    for broken in (b"not a picture", whole[: len(whole) // 2]):
        (tmp_path / "train/dog/1.png").write_bytes(broken)
        with pytest.raises(ValueError, match=r"1.png must be an image, but cannot be read: .*; save it again as PNG"):
            read_marks(tmp_path, IMAGES, CLASSES)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "1.png",
            r"1.png: '1' must mean one image, but fits 2, such as 'train/dog/1.jpg' and 'train/cat/1.jpg'; give",
        ),
        (
            "train/dog/2.png",
            r"'train/dog/2' must mean one image, but fits 2, such as 'train/dog/2.jpeg' and 'train/d",
        ),
    ],
)
def test_a_mask_of_several_images_is_refused(save, name, message):
    with pytest.raises(ValueError, match=message):
        read_marks(save(OBJECT, name), IMAGES | {"train/dog/2.bmp": (4, 6)}, CLASSES)


def test_no_image_of_the_data_is_an_error_that_names_the_first(save):
    message = r"image not in the data: 1 \(first 'horse/1.png'\)\); expected images such as 'train/dog/1.jpg' and cl"
    with pytest.raises(ValueError, match=message):
        read_marks(save(OBJECT, "horse/1.png"), IMAGES, CLASSES)


def test_a_picture_of_too_many_pixels_is_refused_in_one_line(save, monkeypatch):
    folder = save(OBJECT)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # PIL's limit is twice that
    with pytest.raises(
        ValueError, match=r"1\.png must be an image, but cannot be read: .*24 pixels.* exceeds"
    ) as caught:
        read_marks(folder, IMAGES, CLASSES)
    assert "\n" not in str(caught.value)


def test_pixels_that_are_no_number_are_no_object(save):
    pixels = np.where(OBJECT, 1.0, np.nan).astype(np.float32)
    (found,) = read_marks(save(pixels, "train/dog/1.tif"), IMAGES, CLASSES).marks
    np.testing.assert_array_equal(found.mask, OBJECT)
