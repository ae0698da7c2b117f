import numpy as np
import pytest

from looksharp.marks.reading import read_marks

IMAGES = {"train/dog/1.png": (6, 8), "train/cat/2.png": (6, 8), "val/dog/3.png": (5, 10)}
CLASSES = ["cat", "dog"]
DOG_1, CAT_2, DOG_3 = IMAGES
YAML = "path: ../datasets/pets\ntrain: images/train\nval: images/val\nnames:\n  0: person\n  1: cat\n  2: dog\n"


@pytest.fixture
def write(tmp_path):
    def write(files, names=YAML, file="data.yaml"):
        for name, text in {file: names, **files}.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return tmp_path

    return write


def read(path, images=IMAGES):
    return read_marks(path, images, CLASSES)


def naive_box(x, y, w, h, size=(6, 8)):
    """The pixels whose centre lies in a box given in shares of the image."""
    mask = np.zeros(size, dtype=bool)
    for row in range(size[0]):
        for column in range(size[1]):
            across, down = column + 0.5 - x * size[1], row + 0.5 - y * size[0]
            mask[row, column] = -w / 2 <= across / size[1] < w / 2 and -h / 2 <= down / size[0] < h / 2
    return mask


@pytest.mark.parametrize("box", [(0.5, 0.5, 0.25, 0.5), (0.31, 0.44, 0.52, 0.36), (0.5, 0.5, 1, 1)])
@pytest.mark.parametrize("more", ["", " 0.87"])
def test_boxes_are_centre_and_size(write, box, more):
    found = read(write({"labels/train/1.txt": f"2 {' '.join(map(str, box))}{more}\n"}))
    assert [(a.image, a.label) for a in found.marks] == [(DOG_1, "dog")]
    np.testing.assert_array_equal(found.marks[0].mask, naive_box(*box))
    assert found.skipped == {}


def test_polygons_beside_boxes_and_several_of_a_class(write):
    block = "1 0.125 0.5 0.5 0.5 0.5 1 0.125 1"  # x 1 to 4, y 3 to 6
    turned = (
        "2 0.5 0.1666666666667 0.75 0.5 0.5 0.8333333333333 0.25 0.5"  # a lozenge: corners (4, 1) (6, 3) (4, 5) (2, 3)
    )
    found = read(write({"labels/train/1.txt": f"{block}\n\n1 0.0625 0.0833333 0.125 0.1666667\n{turned}\n"}))
    cat, dog = found.marks
    expected = np.zeros((6, 8), dtype=bool)
    expected[3:6, 1:4] = True
    expected[0, 0] = True
    np.testing.assert_array_equal(cat.mask, expected)
    columns, rows = np.meshgrid(np.arange(8) + 0.5, np.arange(6) + 0.5)
    distance = abs(columns - 4) + abs(rows - 3)
    assert dog.mask[distance < 1.5].all()  # the pixels whose border the polygon cuts may go either way
    assert not dog.mask[distance > 2.5].any()


@pytest.mark.parametrize(
    ("layout", "names", "file"),
    [
        ("labels/train/1.txt", YAML, "data.yaml"),  # Ultralytics
        ("train/labels/1.txt", "names: ['person', 'cat', 'dog']\nnc: 3\n", "data.yaml"),  # Roboflow
        ("labels/1.txt", "person\ncat\ndog\n", "classes.txt"),  # Label Studio
        ("1.txt", "person\ncat\ndog\n", "classes.txt"),  # labelImg
        ("labels/train/dog/1.txt", "names: {0: person, 1: cat, 2: dog}", "dataset.yaml"),  # laid out like the data
    ],
)
def test_layouts(write, layout, names, file):
    folder = write({layout: "2 0.5 0.5 0.25 0.5\n"}, names, file)
    (found,) = read(folder).marks
    assert (found.image, found.label, found.mask.sum()) == (DOG_1, "dog", naive_box(0.5, 0.5, 0.25, 0.5).sum())
    if file.endswith("yaml"):
        (again,) = read(folder / file).marks
        np.testing.assert_array_equal(again.mask, found.mask)


def test_the_folder_that_a_yaml_names_is_followed(write, tmp_path):
    write({"pets/labels/val/3.txt": "1 0.5 0.5 0.2 0.2\n"}, "path: pets\nnames: [person, cat, dog]\n", "pets.yaml")
    (found,) = read(tmp_path / "pets.yaml").marks
    assert (found.image, found.label) == (DOG_3, "cat")
    np.testing.assert_array_equal(found.mask, naive_box(0.5, 0.5, 0.2, 0.2, (5, 10)))


def test_of_a_pose_the_box_counts(write):
    pose = "2 0.5 0.5 0.25 0.5 0.4 0.4 2 0.6 0.6 1"
    folder = write({"labels/1.txt": pose}, "names: [person, cat, dog]\nkpt_shape: [2, 3]\n")
    np.testing.assert_array_equal(read(folder).marks[0].mask, naive_box(0.5, 0.5, 0.25, 0.5))


def test_what_is_left_out_or_changed_is_counted(write):
    files = {
        "labels/train/1.txt": "0 0.5 0.5 1 1\n2 0.5 0.5 0 0.5\n2 0.1 0.5 0.4 0.5\n2 0 0 0.5 0.5 1 1\n",
        "labels/train/2.txt": "",  # an image without objects
        "labels/train/9.txt": "2 0.5 0.5 1 1\n",
    }
    found = read(write(files))
    assert found.skipped == {
        "class not in the data": 1,
        "empty box": 1,
        "clipped to the image": 1,
        "empty mask": 1,
        "image not in the data": 1,
    }
    assert [(a.image, a.label) for a in found.marks] == [(DOG_1, "dog")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2 0.5 0.5 0.25", r"1\.txt: line 1 must be 'class x y width height' or .*; got 4 numbers; export it again$"),
        ("2 0.1 0.1 0.2 0.2 0.3 0.3 0.4", r"line 1 must be .*; got 8 numbers"),
        ("2 0.5 wide 0.25 0.5", r"line 1 must be .*; got '2 0\.5 wide 0\.25 0\.5'; export it again$"),
        ("7 0.5 0.5 0.25 0.5", r"line 1 has the class 7; expected one of \[0, 1, 2\], as the class names say$"),
        ("1.5 0.5 0.5 0.25 0.5", r"line 1 has the class 1\.5; expected one of"),
        ("2 120 80 40 40", r"line 1 lies wholly outside the image train/dog/1\.png of 6x8 pixels"),
        ("2 nan 0.5 0.25 0.5", r"line 1 has edges .*; expected finite numbers of pixels; correct"),
        ("0 0.5 0.5 1 1", r"holds no mark that can be used \(class not in the data: 1 \(first 'person' in .*1\."),
    ],
)
def test_lines_that_fit_not_are_refused(write, line, message):
    with pytest.raises(ValueError, match=message) as caught:
        read(write({"labels/train/1.txt": line}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("names", ["train: images", "names: 3", "- cat", "names: [cat", "names: {cat: 0}"])
def test_class_names_that_cannot_be_read_are_refused(write, names):
    with pytest.raises(ValueError, match=r"data\.yaml must hold YOLO's class names, as in 'names: \[cat, dog\]'; add"):
        read(write({"labels/1.txt": "1 0.5 0.5 1 1"}, names))


def test_two_files_of_one_image_are_refused(write):
    folder = write({"labels/a/1.txt": "1 0.5 0.5 1 1", "labels/b/1.txt": "1 0.5 0.5 1 1"})
    with pytest.raises(ValueError, match=r"b/1\.txt and .*a/1\.txt both mean the image train/dog/1\.png; expected one"):
        read(folder)


def test_a_name_of_several_images_is_refused(write):
    folder = write({"labels/1.txt": "1 0.5 0.5 1 1"})
    with pytest.raises(ValueError, match=r"1\.txt: '1' must mean one image, but fits 2"):
        read(folder, IMAGES | {"train/cat/1.png": (6, 8)})


def test_no_image_of_the_data_is_an_error_that_names_the_first(write):
    folder = write({"labels/train/9.txt": "1 0.5 0.5 1 1"})
    with pytest.raises(ValueError, match=r"image not in the data: 1 \(first 'train/9\.txt' of .*expected images such"):
        read(folder)


def test_turned_boxes_of_four_corners(write):
    """YOLO-OBB: class x1 y1 x2 y2 x3 y3 x4 y4; here upright, so that the pixels are plain."""
    corners = [2 / 8, 1 / 6, 6 / 8, 1 / 6, 6 / 8, 4 / 6, 2 / 8, 4 / 6]
    (found,) = read(write({"labels/train/1.txt": f"2 {' '.join(map(str, corners))}"})).marks
    expected = np.zeros((6, 8), dtype=bool)
    expected[1:4, 2:6] = True
    np.testing.assert_array_equal(found.mask, expected)


def test_labels_of_roboflow_mean_the_image_before_the_export(write):
    folder = write({"train/labels/1_png.rf.0a1b2c3d4e5f60718293a4b5c6d7e8f9.txt": "2 0.5 0.5 0.25 0.5"})
    assert [mark.image for mark in read(folder).marks] == [DOG_1]


def test_files_that_are_no_text_are_named(write, tmp_path):
    folder = write({"labels/train/1.txt": "2 0.5 0.5 1 1"})
    (folder / "labels/train/1.txt").write_bytes(b"\x89PNG\xff\x00")
    with pytest.raises(
        ValueError, match=r"1\.txt is not text in UTF-8; expected YOLO labels; save it as UTF-8 or export"
    ):
        read(folder)
    (folder / "data.yaml").write_bytes(b"\x89PNG\xff\x00")
    with pytest.raises(ValueError, match=r"data\.yaml is not text in UTF-8; expected YOLO's class names; save it as"):
        read(folder)


@pytest.mark.parametrize("shape", ["17", "[a, 3]", "[1, 2, 3]"])
def test_the_shape_of_keypoints_is_checked(write, shape):
    folder = write({"labels/1.txt": "1 0.5 0.5 1 1"}, f"names: [person, cat, dog]\nkpt_shape: {shape}\n")
    with pytest.raises(ValueError, match=r"data\.yaml must have kpt_shape \[keypoints, 2 or 3\]; got"):
        read(folder)


def test_the_whole_file_system_is_not_searched(write):
    folder = write({"labels/1.txt": "1 0.5 0.5 1 1"}, "path: /\nnames: [person, cat, dog]\n")
    assert [mark.label for mark in read(folder).marks] == ["cat"]


def test_labels_of_another_split_are_not_those_of_an_image_of_the_same_name(write):
    folder = write({"labels/train/1.txt": "2 0.5 0.5 0.25 0.5", "labels/val/1.txt": "1 0.5 0.5 1 1"})
    found = read(folder)
    assert [(mark.image, mark.label) for mark in found.marks] == [(DOG_1, "dog")]
    assert found.skipped == {"image not in the data": 1}
