import numpy as np
import pytest
from PIL import Image

from looksharp.marks.formats.voc import VOC_CLASSES
from looksharp.marks.reading import read_marks

IMAGES = {"JPEGImages/2007_000001.jpg": (6, 8), "JPEGImages/2007_000002.jpg": (6, 8), "JPEGImages/b.jpg": (3, 3)}
CLASSES = ["dog", "cat"]
FIRST, SECOND, THIRD = IMAGES
CAT, DOG, PERSON = (VOC_CLASSES.index(name) + 1 for name in ("cat", "dog", "person"))


def voc_palette() -> list[int]:
    """The devkit's colours: bit b of the index is bit 7 - b // 3 of channel b % 3."""
    colours = np.zeros((256, 3), dtype=int)
    for index in range(256):
        for bit in range(8):
            colours[index, bit % 3] |= (index >> bit & 1) << (7 - bit // 3)
    return colours.ravel().tolist()


@pytest.fixture
def folder(tmp_path):
    for name in ("Annotations", "SegmentationClass", "JPEGImages"):
        (tmp_path / "VOCdevkit" / "VOC2012" / name).mkdir(parents=True)
    return tmp_path / "VOCdevkit" / "VOC2012"


def save_mask(folder, name, indices):
    picture = Image.fromarray(indices.astype(np.uint8))
    picture.putpalette(voc_palette())
    assert picture.mode == "P"
    picture.save(folder / "SegmentationClass" / f"{name}.png")


def indices(**classes):
    picture = np.zeros((6, 8), dtype=np.uint8)
    for k, (row, index) in enumerate(classes.values()):
        picture[row, k : k + 4] = index
    return picture


def save_boxes(folder, name, *objects, size="<size><width>8</width><height>6</height><depth>3</depth></size>"):
    parts = []
    for label, box, *rest in objects:
        edges = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
        corners = "".join(f"<{edge}>{value}</{edge}>" for edge, value in edges)
        parts.append(f"<object><name>{label}</name>{''.join(rest)}<bndbox>{corners}</bndbox></object>")
    text = f"<annotation><filename>{name}.jpg</filename>{size}{''.join(parts)}</annotation>"
    (folder / "Annotations" / f"{name}.xml").write_text(text)


def test_the_classes_are_the_devkits():
    assert len(VOC_CLASSES) == 20
    assert list(VOC_CLASSES) == sorted(VOC_CLASSES)
    assert (CAT, DOG, PERSON, VOC_CLASSES[-1]) == (8, 12, 15, "tvmonitor")


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_masks_give_classes_without_void_from_any_folder_of_the_devkit(folder, depth):
    picture = indices(a=(1, DOG), b=(2, CAT), c=(3, PERSON), d=(4, 255))
    save_mask(folder, "2007_000001", picture)
    found = read_marks((folder, *folder.parents)[depth], IMAGES, CLASSES)
    assert [(a.image, a.label) for a in found.marks] == [(FIRST, "cat"), (FIRST, "dog")]
    for annotation, index in zip(found.marks, (CAT, DOG), strict=True):
        np.testing.assert_array_equal(annotation.mask, picture == index)
        assert annotation.mask.sum() == 4
    assert found.skipped == {"class not in the data": 1}


def test_greyscale_masks_hold_indices_too(folder):
    Image.fromarray(indices(a=(1, DOG))).save(folder / "SegmentationClass" / "2007_000001.png")
    (found,) = read_marks(folder, IMAGES, CLASSES).marks
    assert (found.label, found.mask.sum()) == ("dog", 4)


def test_boxes_count_from_one_and_hold_their_last_pixel(folder):
    part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>1</xmax><ymax>1</ymax></bndbox></part>"
    save_boxes(
        folder,
        "2007_000001",
        ("dog", (2, 3, 4, 3), part),
        ("cat", (8, 6, 8, 6)),
        ("dog", ("6.7", "1", "8.0", "1")),
    )
    found = read_marks(folder, IMAGES, CLASSES)
    expected = np.zeros((6, 8), dtype=bool)
    expected[2, 1:4] = True
    expected[0, 6:8] = True  # 5.7 to 8 holds the centres 6.5 and 7.5
    assert [(a.image, a.label) for a in found.marks] == [(FIRST, "dog"), (FIRST, "cat")]
    np.testing.assert_array_equal(found.marks[0].mask, expected)
    assert np.argwhere(found.marks[1].mask).tolist() == [[5, 7]]
    assert found.skipped == {}


def test_a_mask_goes_before_boxes_and_images_come_in_order(folder):
    save_boxes(folder, "2007_000001", ("dog", (1, 1, 2, 2)))
    save_boxes(folder, "2007_000002", ("dog", (1, 1, 8, 6)))
    save_mask(folder, "2007_000002", indices(a=(5, CAT)))
    found = read_marks(folder, IMAGES, CLASSES)
    assert [(a.image, a.label, a.mask.sum()) for a in found.marks] == [(FIRST, "dog", 4), (SECOND, "cat", 4)]


def test_what_is_left_out_or_changed_is_counted(folder):
    save_mask(folder, "2007_000002", indices(a=(1, 255)))
    save_mask(folder, "2009_000009", indices(a=(1, DOG)))
    save_boxes(folder, "2009_000010", ("dog", (1, 1, 2, 2)))
    save_boxes(
        folder,
        "2007_000001",
        ("dog", (1, 1, 2, 2), "<difficult>1</difficult>"),
        ("dog", (1, 2, 2, 2), "<difficult>0</difficult>"),
        ("person", (1, 1, 2, 2)),
        ("dog", (5, 5, 4, 5)),
        ("dog", (5, 5, 4, 5), "<difficult>1</difficult>"),
        ("dog", (7, 5, 12, 9)),
    )
    found = read_marks(folder, IMAGES, CLASSES)
    assert found.skipped == {
        "empty mask": 1,
        "image not in the data": 2,
        "difficult (used)": 1,
        "class not in the data": 1,
        "empty box": 2,
        "clipped to the image": 1,
    }
    (annotation,) = found.marks
    assert np.argwhere(annotation.mask).tolist() == [
        [0, 0],
        [0, 1],
        [1, 0],
        [1, 1],
        [4, 6],
        [4, 7],
        [5, 6],
        [5, 7],
    ]


def test_boxes_may_have_classes_of_any_name(folder):
    save_boxes(folder, "b", ("screw", (1, 1, 1, 2)), size="<size><width>0</width><height>0</height></size>")
    (found,) = read_marks(folder, IMAGES, ["screw"]).marks
    assert (found.image, found.label, found.mask.sum()) == (THIRD, "screw", 2)


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        (
            [("dog", (9, 1, 12, 3))],
            r"2007_000001.xml: object 1 lies wholly outside the image JPEGImages/2007_000001.jpg",
        ),
        (
            [("dog", (1, 1, 2, "wide"))],
            r"object 1 must have a bndbox with numbers xmin, ymin, xmax and ymax; add them",
        ),
        ([("dog", (1, 1, 2, "nan"))], r"object 1 has edges .*; expected finite numbers of pixels; correct"),
        (
            [("person", (1, 1, 2, 2))],
            r"holds no mark .*class not in the data: 1 \(first 'person' in .*such as 'cat'",
        ),
        ([], r"holds no mark that can be used \(it is empty\)"),
    ],
)
def test_boxes_that_fit_not_are_refused(folder, objects, message):
    save_boxes(folder, "2007_000001", *objects)
    with pytest.raises(ValueError, match=message):
        read_marks(folder, IMAGES, CLASSES)


def test_boxes_of_an_image_of_another_size_are_refused(folder):
    save_boxes(folder, "b", ("dog", (1, 1, 2, 2)))
    with pytest.raises(ValueError, match=r"b.xml is for an image of 6x8 pixels .* the image JPEGImages/b.jpg has 3x3"):
        read_marks(folder, IMAGES, CLASSES)


def test_a_mask_of_another_size_is_refused(folder):
    save_mask(folder, "b", indices(a=(1, DOG)))
    with pytest.raises(ValueError, match=r"b.png is for an image of 6x8 pixels .* the image JPEGImages/b.jpg has 3x3"):
        read_marks(folder, IMAGES, CLASSES)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (
            indices(a=(1, 21)),
            r"2007_000001.png must hold class indices: 0 background, 1 to 20, 255 void; got index 21",
        ),
        (
            np.full((6, 8, 3), 12, dtype=np.uint8),
            r"must hold class indices: .* got pixels of mode RGBA; save VOC's",
        ),
        (np.full((6, 8), 12, dtype=np.uint16), r"must hold class indices: .* got pixels of mode I;16"),
    ],
)
def test_masks_without_vocs_indices_are_refused(folder, pixels, message):
    Image.fromarray(pixels).save(folder / "SegmentationClass" / "2007_000001.png")
    with pytest.raises(ValueError, match=message):
        read_marks(folder, IMAGES, CLASSES)


def test_damaged_files_are_refused(folder):
    broken = folder / "Annotations" / "b.xml"
    broken.write_text("<annotation>")
    with pytest.raises(ValueError, match=r"b.xml is not XML: .*; expected a VOC annotation; export it again"):
        read_marks(folder, IMAGES, CLASSES)
    (folder / "SegmentationClass" / "b.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(ValueError, match=r"b.png must be an image, but cannot be read: .*; save it again as PNG"):
        read_marks(folder, IMAGES, CLASSES)


@pytest.mark.parametrize("twin", ["b.png", "more/b.jpg", "JPEGImages/b.png"])
def test_an_id_of_several_images_is_refused(folder, twin):
    save_boxes(folder, "b", ("dog", (1, 1, 2, 2)), size="")
    with pytest.raises(ValueError, match=r"b.xml: 'b' must mean one image, but fits 2, such as 'JPEGImages/b.jpg' and"):
        read_marks(folder, IMAGES | {twin: (3, 3)}, CLASSES)


def test_no_image_of_the_data_is_an_error_that_names_the_first(folder):
    save_boxes(folder, "2009_000010", ("dog", (1, 1, 2, 2)))
    with pytest.raises(
        ValueError, match=r"image not in the data: 1 \(first '2009_000010' of .*\); expected images such"
    ):
        read_marks(folder, IMAGES, CLASSES)


def test_several_years_are_refused(folder):
    (folder.parent / "VOC2007" / "Annotations").mkdir(parents=True)
    for path in (folder.parent, folder.parent.parent):
        with pytest.raises(ValueError, match=r"must hold one VOC year, got .*VOC2007 and .*VOC2012; give the folder"):
            read_marks(path, IMAGES, CLASSES)


def test_boxes_may_have_fractions(folder):
    save_boxes(folder, "b", ("dog", ("1.0", "1.4", "2.6", "3.0")), size="")
    (found,) = read_marks(folder, IMAGES, CLASSES).marks
    expected = np.zeros((3, 3), dtype=bool)  # from (0, 0.4) to (2.6, 3)
    expected[:3, :3] = True
    np.testing.assert_array_equal(found.mask, expected)


def test_a_size_that_is_no_number_is_refused_in_words(folder):
    save_boxes(folder, "b", ("dog", (1, 1, 2, 2)), size="<size><width>nan</width><height>3</height></size>")
    with pytest.raises(
        ValueError, match=r"b\.xml is for an image of 3xnan pixels .* has 3x3; mark the image at its own"
    ):
        read_marks(folder, IMAGES, CLASSES)


def test_files_beside_the_images(folder, tmp_path):
    save_boxes(folder, "2007_000001", ("dog", (2, 1, 3, 1)))
    loose = tmp_path / "export" / "train"
    loose.mkdir(parents=True)
    name = "2007_000001_jpg.rf.0a1b2c3d4e5f60718293a4b5c6d7e8f9.xml"  # Roboflow's
    (folder / "Annotations" / "2007_000001.xml").rename(loose / name)
    (found,) = read_marks(tmp_path / "export", IMAGES, CLASSES).marks
    assert (found.image, found.label) == (FIRST, "dog")
    assert np.argwhere(found.mask).tolist() == [[0, 1], [0, 2]]
