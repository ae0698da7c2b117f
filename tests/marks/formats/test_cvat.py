import math

import numpy as np
import pytest

from looksharp.marks.reading import read_marks

IMAGES = {"train/dog/1.png": (6, 8), "train/cat/2.png": (6, 8)}
CLASSES = ["cat", "dog"]
DOG_1, CAT_2 = IMAGES

FILE = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><task><id>1</id><mode>annotation</mode><labels>
    <label><name>dog</name><type>any</type><attributes></attributes></label>
  </labels></task><dumped>2025-01-01 00:00:00</dumped></meta>
  {}
</annotations>
"""


def image(*shapes, name="dog/1.png", size=(6, 8)):
    return f'<image id="0" name="{name}" width="{size[1]}" height="{size[0]}">{"".join(shapes)}</image>'


def shape(tag, label="dog", **attributes):
    listed = "".join(f' {name}="{value}"' for name, value in attributes.items())
    return f'<{tag} label="{label}" source="manual" occluded="0"{listed} z_order="0"></{tag}>'


def box(left, top, right, bottom, label="dog", **more):
    return shape("box", label, xtl=left, ytl=top, xbr=right, ybr=bottom, **more)


@pytest.fixture
def read(tmp_path):
    def read(*images, text=FILE):
        (tmp_path / "annotations.xml").write_text(text.format("".join(images)))
        found = read_marks(tmp_path / "annotations.xml", IMAGES, CLASSES)
        of_the_folder = read_marks(tmp_path, IMAGES, CLASSES)
        assert [a.mask.tolist() for a in of_the_folder.marks] == [a.mask.tolist() for a in found.marks]
        return found

    return read


def drawn(picture):
    return np.array([[character == "#" for character in line] for line in picture.split()])


def test_boxes_of_several_images(read):
    first = image(box("1.40", "0.60", "3.70", "4.30"), box(0, 0, 8, 1, "cat"), box(6, 5, 8, 6))
    found = read(first, image(box(0, 0, 1, 1, "cat"), name="train/cat/2.png"))
    assert [(a.image, a.label) for a in found.marks] == [(DOG_1, "dog"), (DOG_1, "cat"), (CAT_2, "cat")]
    dog, cat, other = (a.mask for a in found.marks)
    np.testing.assert_array_equal(dog, drawn("........ .###.... .###.... .###.... ........ ......##"))
    np.testing.assert_array_equal(cat, drawn("######## ........ ........ ........ ........ ........"))
    assert np.argwhere(other).tolist() == [[0, 0]]
    assert found.skipped == {}


def test_polygons(read):
    (found,) = read(image(shape("polygon", points="1.3,0.0;7.0,0.0;7.0,5.7"))).marks
    np.testing.assert_array_equal(found.mask, drawn("..#####. ...####. ....###. .....##. ......#. ........"))


def test_a_box_turned_by_a_right_angle_stands_upright(read):
    (found,) = read(image(box(2, 2, 6, 4, rotation="90.00"))).marks  # 4 x 2 about (4, 3)
    np.testing.assert_array_equal(found.mask, drawn("........ ...##... ...##... ...##... ...##... ........"))


def large(shape_text, tmp_path):
    """The mask of a shape on an image of 60 x 80 pixels, where single pixels of the border count little."""
    (tmp_path / "a.xml").write_text(FILE.format(image(shape_text, name="big.png", size=(60, 80))))
    (found,) = read_marks(tmp_path / "a.xml", {"dog/big.png": (60, 80)}, CLASSES).marks
    return found.mask


def turned(degrees, size=(60, 80), centre=(40, 30)):
    """Each pixel's place along and across an axis that was turned clockwise, seen from the centre."""
    angle = math.radians(degrees)
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    dx, dy = columns - centre[0], rows - centre[1]
    return dx * math.cos(angle) + dy * math.sin(angle), dy * math.cos(angle) - dx * math.sin(angle)


@pytest.mark.parametrize("degrees", [0.01, 30, 45, 123, 300])
def test_turned_boxes(degrees, tmp_path):
    along, across = turned(degrees)
    mask = large(box(20, 22, 60, 38, rotation=degrees), tmp_path)
    excess = np.maximum(abs(along) - 20, abs(across) - 8)
    assert mask[excess < -1].all()
    assert not mask[excess > 1].any()


@pytest.mark.parametrize("degrees", [None, 0, 30, 90, 200])
def test_ellipses(degrees, tmp_path):
    along, across = turned(degrees or 0)
    more = {} if degrees is None else {"rotation": degrees}
    mask = large(shape("ellipse", cx=40, cy=30, rx=20, ry=9, **more), tmp_path)
    np.testing.assert_array_equal(mask, (along / 20) ** 2 + (across / 9) ** 2 <= 1)


def test_masks_run_along_the_rows_of_their_box(read):
    mask = shape("mask", rle="1, 2, 1, 1, 1", left=3, top=2, width=3, height=2)  # .## .#.
    (found,) = read(image(mask)).marks
    np.testing.assert_array_equal(found.mask, drawn("........ ........ ....##.. ....#... ........ ........"))


def test_what_is_left_out_or_changed_is_counted(read):
    found = read(
        image(
            box(0, 0, 1, 1),
            box(0, 0, 1, 1, "person"),
            box(2, 2, 2, 5),
            box(5, 5, 12, 9),
            shape("polygon", points="0,0;3,0;6,0"),
            shape("points", points="1,1;2,2"),
            shape("polyline", points="1,1;2,2"),
            shape("ellipse", cx=4, cy=3, rx=0, ry=2),
            shape("mask", rle="4", left=0, top=0, width=2, height=2),
            '<tag label="dog" source="manual"></tag>',
        ),
        image(box(0, 0, 1, 1), box(0, 0, 1, 1), name="nothing.png"),
    )
    assert found.skipped == {
        "class not in the data": 1,
        "empty box": 1,
        "clipped to the image": 1,
        "empty mask": 5,
        "image not in the data": 2,
    }
    np.testing.assert_array_equal(found.marks[0].mask, drawn("#....... ........ ........ ........ ........ .....###"))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            box(9, 0, 12, 3),
            r"annotations\.xml: box 1 of 'dog/1\.png' lies wholly outside the image train/dog/1\.png of",
        ),
        (box(9, 0, 14, 3, rotation=45), r"box 1 of 'dog/1\.png' lies wholly outside"),
        (shape("ellipse", cx=40, cy=3, rx=2, ry=2), r"ellipse 1 of 'dog/1\.png' lies wholly outside"),
        (box(0, 0, "wide", 3), r"box 1 of 'dog/1\.png' must have numbers xtl, ytl, xbr, ybr; export it again$"),
        (box(0, 0, "inf", 3), r"box 1 of 'dog/1\.png' has edges .*; expected finite numbers of pixels"),
        (shape("box"), r"box 1 of 'dog/1\.png' must have numbers xtl, ytl, xbr, ybr"),
        (shape("polygon", points="1,1;2"), r"polygon 1 of .* must have points 'x,y;x,y;\.\.\.'; got '1,1;2'$"),
        (shape("polygon"), r"polygon 1 of .* must hold numbers parted by commas; got ''; export it again$"),
        (
            shape("mask", rle="1, 2", left=0, top=0, width=2, height=2),
            r"mask 1 of .* must have an rle of 2 x 2 pixels; got 3; export it again$",
        ),
        (shape("mask", rle="-1, 5", left=0, top=0, width=2, height=2), r"must have an rle of 2 x 2 pixels; got 4"),
        (shape("mask", rle="a", left=0, top=0, width=2, height=2), r"must hold numbers parted by commas; got 'a'"),
        (shape("points", points="1,1"), r"holds no mark that can be used \(empty mask: 1 \(first .*points 1 of"),
        (box(0, 0, 1, 1, "person"), r"class not in the data: 1 \(first 'person' in .*box 1 of 'dog/1\.png'\)"),
    ],
)
def test_shapes_that_fit_not_are_refused(read, bad, message):
    with pytest.raises(ValueError, match=message) as caught:
        read(image(bad))
    assert "\n" not in str(caught.value)


def test_an_image_of_another_size_is_refused(read):
    with pytest.raises(
        ValueError, match=r"image 'dog/1\.png' is for an image of 12x16 pixels .*train/dog/1\.png has 6x8"
    ):
        read(image(box(0, 0, 1, 1), size=(12, 16)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotations>", r"annotations\.xml is not XML: .*; expected CVAT for images; export it again"),
        (
            '<annotations><track id="0" label="dog"><box frame="0"/></track></annotations>',
            r"must be a 'CVAT for images' file, got a video's tracks; export as 'CVAT for images 1\.1' or 'COCO 1\.0'$",
        ),
        ("<annotation></annotation>", r"'CVAT for images' file, got an element 'annotation'; of VOC give the folder$"),
        ("<svg></svg>", r"must be a 'CVAT for images' file, got an element 'svg'; export as"),
    ],
)
def test_other_files_are_refused(read, text, message):
    with pytest.raises(ValueError, match=message):
        read(text=text)


def test_skeletons_are_refused_by_name(read):
    skeleton = '<skeleton label="dog" z_order="0"><points label="nose" points="1,1"></points></skeleton>'
    with pytest.raises(
        ValueError, match=r"skeleton 2 of 'dog/1\.png' is a skeleton, which marks no area; draw boxes or"
    ):
        read(image(box(0, 0, 1, 1), skeleton))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            shape("mask", rle="1", left=0, top=0, width=10**7, height=10**7),
            r"is a mask of 1e\+07 x 1e\+07 pixels; expected",
        ),
        (
            shape("mask", rle="1", left="inf", top=0, width=1, height=1),
            r"must have finite numbers left, top, width, height",
        ),
        (shape("mask", rle="inf", left=0, top=0, width=1, height=1), r"must have an rle of 1 x 1 pixels"),
        (
            shape("mask", rle="1", left=0, top=0, width=0, height=0),
            r"is a mask of 0 x 0 pixels; expected 1 to 268,435,456",
        ),
        (shape("ellipse", cx="nan", cy=1, rx=1, ry=1), r"has edges .*nan.*; expected finite numbers of pixels"),
        (shape("polygon", points="1,1;nan,2;3,3"), r"has edges at \[nan, 2\.0\]; expected finite numbers of pixels"),
        (box(0, 0, "nan", 3), r"has edges .*nan.*; expected finite numbers of pixels"),
        (box(0, 0, 3, 3, rotation="nan"), r"expected finite numbers of pixels"),
    ],
)
def test_numbers_without_sense_are_refused_before_memory_is_asked_for(read, bad, message):
    with pytest.raises(ValueError, match=message):
        read(image(bad))


def test_an_image_without_end_is_refused(read):
    with pytest.raises(ValueError, match=r"image 'dog/1\.png' is for an image of infx8 pixels"):
        read(image(box(0, 0, 1, 1), size=("inf", 8)))
