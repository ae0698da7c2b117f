import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from looksharp.marks.reading import read_marks

IMAGES = {"train/dog/1.png": (6, 8), "train/cat/1.png": (6, 8), "val/dog/2.png": (5, 7), "val/3.png": (5, 7)}
CLASSES = ["cat", "dog"]
DOG = 3


def content(*annotations, names=("train/dog/1.png",), sizes=None):
    return {
        "images": [{"id": k, "file_name": n} | (sizes or {}) for k, n in enumerate(names, 10)],
        "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "cat"}, {"id": DOG, "name": "dog"}],
        "annotations": [{"id": k, "image_id": 10, "category_id": DOG} | a for k, a in enumerate(annotations, 100)],
    }


@pytest.fixture
def read(tmp_path):
    def read(*annotations, **options):
        path = tmp_path / "a.json"
        path.write_text(json.dumps(content(*annotations, **options)))
        return read_marks(path, IMAGES, CLASSES)

    return read


NUMPY_2 = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' decode


def drawn(picture: str):
    return np.array([[character == "#" for character in line] for line in picture.split()])


def naive_box(x, y, w, h, size=(6, 8)):
    mask = np.zeros(size, dtype=bool)
    for row in range(size[0]):
        for column in range(size[1]):
            mask[row, column] = x <= column + 0.5 < x + w and y <= row + 0.5 < y + h
    return mask


@pytest.mark.parametrize("box", [(1, 2, 3, 2), (0, 0, 8, 6), (1.4, 0.6, 2.3, 3.7), (2.5, 1.5, 1, 1)])
@pytest.mark.parametrize("segmentation", [{}, {"segmentation": None}, {"segmentation": []}])
def test_box_is_the_pixels_whose_centre_it_holds(read, box, segmentation):
    found = read({"bbox": box, **segmentation})
    np.testing.assert_array_equal(found.marks[0].mask, naive_box(*box))
    assert found.skipped == {}


@NUMPY_2
def test_box_of_whole_pixels_is_that_of_pycocotools(read):
    (found,) = read({"bbox": [1, 2, 3, 2]}).marks
    oracle = coco_mask.decode(coco_mask.frPyObjects(np.array([[1.0, 2.0, 3.0, 2.0]]), 6, 8))[..., 0]
    np.testing.assert_array_equal(found.mask, oracle)


def test_polygon_is_the_mask_drawn_by_hand_and_goes_before_the_box(read):
    expected = drawn(
        """
        ..#####.
        ...####.
        ....###.
        .....##.
        ##....#.
        ##......
        """
    )
    triangle, square = [1.3, 0, 7, 0, 7, 5.7], [0, 4, 2, 4, 2, 6, 0, 6]
    (found,) = read({"bbox": [0, 0, 1, 1], "segmentation": [triangle, square]}).marks
    np.testing.assert_array_equal(found.mask, expected)


def test_polygons_overlap_as_a_union_and_one_without_area_adds_nothing(read):
    block = [1, 1, 5, 1, 5, 5, 1, 5]
    (found,) = read({"segmentation": [block, [2, 2, 4, 2, 4, 4, 2, 4], [0, 0, 7, 0], [0, 0, 3, 0, 6, 0]]}).marks
    np.testing.assert_array_equal(found.mask, naive_box(1, 1, 4, 4))


HOLES = drawn(
    """
    ........
    .#####..
    .#...#..
    .#.#.#.#
    .#...#..
    .#####..
    """
)


def naive_runs(mask):
    runs, last = [0], False
    for column in range(mask.shape[1]):
        for row in range(mask.shape[0]):
            if mask[row, column] == last:
                runs[-1] += 1
            else:
                runs.append(1)
                last = mask[row, column]
    return runs


@pytest.mark.parametrize("compressed", [True, False])
def test_rle_keeps_holes(read, compressed):
    counts = coco_mask.encode(np.asfortranarray(HOLES.astype(np.uint8)))["counts"].decode()
    found = read({"segmentation": {"size": [6, 8], "counts": counts if compressed else naive_runs(HOLES)}})
    np.testing.assert_array_equal(found.marks[0].mask, HOLES)
    assert found.skipped == {}


@pytest.mark.parametrize("seed", range(4))
def test_compressed_rle_is_decoded_as_by_pycocotools(tmp_path, seed):
    generator = np.random.default_rng(seed)
    masks = [  # runs from 1 to thousands of pixels, so of one to three characters
        np.repeat(generator.random((10 ** int(generator.integers(0, 3)), 90)) > 0.7, 40, axis=1) for _ in range(8)
    ]
    coco = content(names=[f"{k}.png" for k in range(8)])
    for k, mask in enumerate(masks):
        rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        rle["counts"] = rle["counts"].decode()
        coco["annotations"].append({"id": k, "image_id": 10 + k, "category_id": DOG, "segmentation": rle})
    (tmp_path / "a.json").write_text(json.dumps(coco))
    sizes = {f"{k}.png": mask.shape for k, mask in enumerate(masks)}
    found = read_marks(tmp_path / "a.json", sizes, CLASSES)
    assert len(found.marks) == 8
    for annotation, mask in zip(found.marks, masks, strict=True):
        np.testing.assert_array_equal(annotation.mask, mask)


def test_instances_of_a_class_make_one_mask(read):
    found = read({"bbox": [0, 0, 2, 2]}, {"bbox": [1, 1, 1, 1], "category_id": 2}, {"bbox": [1, 1, 3, 3]})
    assert [(a.image, a.label) for a in found.marks] == [
        ("train/dog/1.png", "dog"),
        ("train/dog/1.png", "cat"),
    ]
    np.testing.assert_array_equal(found.marks[0].mask, naive_box(0, 0, 2, 2) | naive_box(1, 1, 3, 3))
    np.testing.assert_array_equal(found.marks[1].mask, naive_box(1, 1, 1, 1))


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("train/dog/1.png", "train/dog/1.png"),
        ("./train/dog/1.png", "train/dog/1.png"),
        ("train\\dog\\1.png", "train/dog/1.png"),
        ("cat/1.png", "train/cat/1.png"),
        ("3.png", "val/3.png"),
    ],
)
def test_file_name_is_a_path_or_the_end_of_one(read, name, image):
    found = read({"bbox": [0, 0, 1, 1]}, names=(name,))
    assert found.marks[0].image == image


def test_a_whole_path_goes_before_the_end_of_one(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(content({"bbox": [0, 0, 1, 1]}, names=("1.png",))))
    found = read_marks(tmp_path / "a.json", {"a/1.png": (6, 8), "1.png": (6, 8)}, CLASSES)
    assert found.marks[0].image == "1.png"


def test_what_is_left_out_or_changed_is_counted(read):
    good, outside = {"bbox": [0, 0, 1, 1]}, {"image_id": 11}
    found = read(
        good,
        {"bbox": [0, 0, 8, 6], "iscrowd": 1},
        {"segmentation": {"size": [6, 8], "counts": [0, 48]}, "iscrowd": 1},
        good | outside,
        good | outside | {"category_id": 2},
        good | {"category_id": 1},
        {"bbox": [1, 1, 0, 2]},
        {"bbox": [1, 1, 2, -1]},
        {"segmentation": {"size": [6, 8], "counts": [48]}},
        {"segmentation": [[1, 1, 5, 1]]},
        {"bbox": [6.2, 0, 0.8, 1]},
        {"bbox": [6.6, 0, 0.8, 1]},  # between two centres
        {"bbox": [-3, 0, 5, 1]},
        {"segmentation": [[4, 4, 20, 4, 20, 20, 4, 20]]},
        names=("train/dog/1.png", "elsewhere.png"),
    )
    assert found.skipped == {
        "iscrowd": 2,
        "image not in the data": 2,
        "class not in the data": 1,
        "empty box": 2,
        "empty mask": 3,
        "clipped to the image": 2,
    }
    (annotation,) = found.marks
    expected = naive_box(0, 0, 2, 1) | naive_box(4, 4, 4, 2) | naive_box(6, 0, 1, 1)
    np.testing.assert_array_equal(annotation.mask, expected)


@pytest.mark.parametrize("box", [(-1, 1, 3, 2), (1, -1, 3, 2), (6, 1, 3, 2), (1, 5, 3, 2)])
@pytest.mark.parametrize("polygon", [True, False])
def test_a_region_over_any_edge_is_clipped_and_counted(read, box, polygon):
    x, y, w, h = box
    corners = [x, y, x + w, y, x + w, y + h, x, y + h]
    found = read({"segmentation": [corners]} if polygon else {"bbox": box})
    np.testing.assert_array_equal(found.marks[0].mask, naive_box(*box))
    assert found.skipped == {"clipped to the image": 1}


@pytest.mark.parametrize("box", [(-3, 1, 3, 2), (1, -2, 3, 2), (8, 1, 3, 2), (1, 6, 3, 2)])
def test_a_box_just_past_any_edge_is_refused(read, box):
    with pytest.raises(ValueError, match=r"lies wholly outside the image train/dog/1.png"):
        read({"bbox": box})


WRONG = [
    (
        {"bbox": [8, 0, 2, 2]},
        r"annotation 100 lies wholly outside the image train/dog/1.png of 6x8 .* x 8 to 10 and",
    ),
    ({"bbox": [0, -4, 2, 4]}, r"annotation 100 lies wholly outside .* y -4 to 0; correct it"),
    ({"segmentation": [[9, 9, 12, 9, 12, 12]]}, r"annotation 100 lies wholly outside the image"),
    ({"bbox": [0, 0, float("nan"), 2]}, r"has edges .*nan.*; expected finite numbers"),
    ({"segmentation": [[0, 0, 1e12, 0, 1, 1]]}, r"has edges .*; expected finite numbers"),
    (
        {"segmentation": {"size": [8, 6], "counts": [0, 48]}},
        r"of 8x6 pixels .* image train/dog/1.png has 6x8; mark",
    ),
    ({"segmentation": {"size": [6, 8], "counts": [0, 47]}}, r"RLE of 47 pixels; expected 48 for size \[6, 8\]"),
    ({"segmentation": {"size": [6, 8], "counts": "04"}}, r"RLE of 4 pixels; expected 48"),
    ({"segmentation": {"size": [6, 8], "counts": ""}}, r"RLE of 0 pixels; expected 48"),
    (
        {"segmentation": {"size": [6, 8], "counts": [-1, 49]}},
        r"must have RLE with size \[height, width\] and counts",
    ),
    ({"segmentation": {"size": [6, 8], "counts": "0n8"}}, r"must have RLE with size|RLE of"),
    ({"segmentation": {"size": [6, 8]}}, r"must have RLE with size \[height, width\] and counts, got"),
    ({"segmentation": {"size": [6, 8], "counts": [0.5, 47.5]}}, r"must have RLE with size"),
    ({"segmentation": [1, 1, 5, 1, 5, 5]}, r"must have polygons \[\[x1, y1, x2, y2, \.\.\.\], \.\.\.\] or RLE"),
    ({"segmentation": [[1, 1, 5, 1, 5, 5, 1]]}, r"must have polygons"),
    ({"segmentation": "polygon"}, r"must have polygons"),
    ({}, r"annotation 100 must have a segmentation or a bbox \[x, y, w, h\], got bbox None; add one"),
    ({"bbox": [1, 2, 3]}, r"must have a segmentation or a bbox"),
    ({"bbox": [1, 2, "3", 4]}, r"must have a segmentation or a bbox"),
    ({"bbox": [1, 2, 3, 4], "image_id": 77}, r"has image_id 77 and category_id 3; expected ids of the file's"),
    ({"bbox": [1, 2, 3, 4], "category_id": 77}, r"has image_id 10 and category_id 77; expected ids"),
]


@pytest.mark.parametrize(("annotation", "message"), WRONG)
def test_an_annotation_that_fits_not_is_refused(read, annotation, message):
    with pytest.raises(ValueError, match=message) as caught:
        read({"bbox": [0, 0, 1, 1], "id": 1}, annotation | {"id": 100})
    assert "a.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_name_that_fits_several_images_is_refused(read):
    with pytest.raises(ValueError, match=r"'1.png' must mean one image, but fits 2, such as 'train/dog/1.png' and 'tr"):
        read({"bbox": [0, 0, 1, 1]}, names=("1.png",))
    assert read({"bbox": [0, 0, 1, 1]}, names=("3.png", "1.png")).skipped == {}  # nobody asked for it


def test_a_file_of_other_image_sizes_is_refused(read):
    with pytest.raises(ValueError, match=r"image 'dog/1.png' is for an image of 12x16 pixels .* has 6x8; mark"):
        read({"bbox": [0, 0, 1, 1]}, names=("dog/1.png",), sizes={"height": 12, "width": 16})
    for fine in ({"height": 6, "width": 8}, {"height": 0, "width": 0}):
        assert read({"bbox": [0, 0, 1, 1]}, names=("dog/1.png",), sizes=fine).skipped == {}


def test_only_images_that_the_data_lacks_is_an_error_that_names_the_first(read):
    with pytest.raises(
        ValueError, match=r"image not in the data: 2 \(first 'x.png' in .*annotation 100\)\); expected im"
    ):
        read({"bbox": [0, 0, 1, 1]}, {"bbox": [0, 0, 1, 1]}, names=("x.png",))


def test_nothing_left_is_an_error_that_counts(read):
    with pytest.raises(ValueError, match=r"iscrowd: 1 \(first .*100\); class not in the data: 1 \(first 'person' in"):
        read({"bbox": [0, 0, 1, 1], "iscrowd": 1}, {"bbox": [0, 0, 1, 1], "category_id": 1})
    with pytest.raises(ValueError, match=r"holds no mark that can be used \(it is empty\); .*'cat'; mark"):
        read()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"a.json is not JSON: .*; expected a COCO instances file"),
        ("[]", r"not a COCO instances file: expected lists 'images', 'annotations' and 'categories', got a list"),
        ('{"shapes": []}', r"not a COCO instances file: expected .*, got keys \['shapes'\]; export as COCO"),
        ('{"images": [{"id": 1}]}', r"images\[0\] must have id and file_name, got \{'id': 1\}; export as COCO"),
        (
            json.dumps(content() | {"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}),
            r"uses an id twice in 'categories'; expected each id once",
        ),
        (
            json.dumps(content({}) | {"annotations": [{"id": 5, "caption": "a dog"}]}),
            r"annotations\[0\] must have im",
        ),
    ],
)
def test_what_is_not_coco_is_refused(tmp_path, text, message):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_marks(tmp_path / "a.json", IMAGES, CLASSES)


def test_bytes_that_are_not_text_are_refused(tmp_path):
    (tmp_path / "a.json").write_bytes(b"\xff\xd8\xff\xe0 a photo")
    with pytest.raises(ValueError, match=r"a.json is not JSON: "):
        read_marks(tmp_path / "a.json", IMAGES, CLASSES)


CORNERS = [1, 2, 4, 2, 4, 4, 1, 4]


@pytest.mark.parametrize("segmentation", [[[]], [[1, 2, 4, 4]], [[0, 0, 3, 0, 6, 0]], [[0.1, 0.1, 0.2, 0.1, 0.2, 0.2]]])
def test_the_box_serves_where_the_polygons_have_no_pixel(read, segmentation):
    found = read({"bbox": [1, 2, 3, 2], "segmentation": segmentation})
    np.testing.assert_array_equal(found.marks[0].mask, naive_box(1, 2, 3, 2))
    assert found.skipped == {}


def test_coordinates_may_be_text(read):
    found = read({"segmentation": [[str(value) for value in CORNERS]]})
    np.testing.assert_array_equal(found.marks[0].mask, naive_box(1, 2, 3, 2))
    with pytest.raises(ValueError, match=r"must have polygons .* got \[\['1', '2', 'wide'"):
        read({"segmentation": [["1", "2", "wide", "2", "4", "4"]]})


def ring(x, y, w, h, clockwise=True):
    points = [(x, y), (x + w, y), (x + w, y + h), (x, y + h)]
    return [value for point in (points if clockwise else points[::-1]) for value in point]


@pytest.mark.parametrize("clockwise", [True, False])
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 2, 0), (1, 0, 3, 2)])
def test_a_ring_that_runs_the_other_way_is_a_hole(read, clockwise, order):
    rings = [
        ring(0, 0, 7, 5, clockwise),
        ring(1, 1, 5, 3, not clockwise),  # a hole
        ring(2, 2, 2, 1, clockwise),  # an island in it
        ring(7, 5, 1, 1, not clockwise),  # beside it, which is no hole
    ]
    found = read({"segmentation": [rings[place] for place in order]})
    expected = naive_box(0, 0, 7, 5) & ~naive_box(1, 1, 5, 3) | naive_box(2, 2, 2, 1) | naive_box(7, 5, 1, 1)
    np.testing.assert_array_equal(found.marks[0].mask, expected)


def test_rings_of_one_direction_are_united(read):
    found = read({"segmentation": [ring(0, 0, 7, 5), ring(1, 1, 5, 3), ring(7, 5, 1, 1)]})
    np.testing.assert_array_equal(found.marks[0].mask, naive_box(0, 0, 7, 5) | naive_box(7, 5, 1, 1))


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("iscrowd", [0, 1])
def test_rle_of_crowds_is_read_where_asked_for(tmp_path, compressed, iscrowd):
    counts = coco_mask.encode(np.asfortranarray(HOLES.astype(np.uint8)))["counts"].decode()
    rle = {"size": [6, 8], "counts": counts if compressed else naive_runs(HOLES)}
    entries = [{"segmentation": rle, "iscrowd": iscrowd}, {"bbox": [0, 0, 1, 1], "category_id": 2}]
    (tmp_path / "a.json").write_text(json.dumps(content(*entries)))
    without = read_marks(tmp_path / "a.json", IMAGES, CLASSES)
    assert [mark.label for mark in without.marks] == (["cat"] if iscrowd else ["dog", "cat"])
    assert without.skipped == ({"iscrowd": 1} if iscrowd else {})
    found = read_marks(tmp_path / "a.json", IMAGES, CLASSES, crowds=True)
    np.testing.assert_array_equal(found.marks[0].mask, HOLES)
    assert found.skipped == {}


def test_ids_have_gaps_and_may_be_text_here_and_numbers_there(tmp_path):
    coco = {
        "images": [{"id": "48", "file_name": "dog/1.png"}, {"id": 7, "file_name": "3.png"}],
        "categories": [{"id": 90, "name": "dog"}, {"id": "3", "name": "cat"}],
        "annotations": [
            {"image_id": 48, "category_id": "90", "bbox": [1, 2, 3, 2]},
            {"image_id": "7", "category_id": 3, "bbox": [0, 0, 1, 1]},
        ],
    }
    (tmp_path / "a.json").write_text(json.dumps(coco))
    found = read_marks(tmp_path / "a.json", IMAGES, CLASSES)
    assert [(mark.image, mark.label) for mark in found.marks] == [("train/dog/1.png", "dog"), ("val/3.png", "cat")]
    coco["images"].append({"id": 48, "file_name": "cat/1.png"})
    (tmp_path / "a.json").write_text(json.dumps(coco))
    with pytest.raises(ValueError, match=r"a\.json uses an id twice in 'images'; expected each id once"):
        read_marks(tmp_path / "a.json", IMAGES, CLASSES)


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("images/3.png", "val/3.png"),
        ("/home/somebody/pets/train/dog/1.png", "train/dog/1.png"),
        ("C:\\Users\\me\\pets\\train\\cat\\1.png", "train/cat/1.png"),
        ("https://example.org/pets/train/dog/1.png?size=full#top", "train/dog/1.png"),
        ("s3://bucket/a%20b/train/cat/1.png", "train/cat/1.png"),
        ("file:///data/train/cat/1.png", "train/cat/1.png"),
        ("/data/upload/3/5f3e1a2b-3.png", "val/3.png"),  # Label Studio's COCO
        ("images/0a1b2c3d-3.png", "val/3.png"),
        ("3_png.rf.8f7e6d5c4b3a29180f7e6d5c4b3a2918.jpg", "val/3.png"),  # Roboflow's
    ],
)
def test_file_names_of_tools(read, name, image):
    assert read({"bbox": [0, 0, 1, 1]}, names=(name,)).marks[0].image == image


@pytest.mark.parametrize(
    "name", ["val/dog/1.png", "train/cow/1.png", "other/1.png", "x.png", "", "..", "/", "http://["]
)
def test_file_names_of_images_that_the_data_lacks(read, name):
    with pytest.raises(ValueError, match="image not in the data: 1"):
        read({"bbox": [0, 0, 1, 1]}, names=(name,))


def test_two_file_names_that_seem_to_mean_one_image_are_refused(read):
    entries = [{"bbox": [0, 0, 1, 1]}, {"bbox": [0, 0, 1, 1], "image_id": 11}]
    with pytest.raises(
        ValueError, match=r"'b/3\.png' and 'a/3\.png' both seem to mean the image val/3\.png; give the im"
    ):
        read(*entries, names=("a/3.png", "b/3.png"))


def test_every_split_of_an_export_by_roboflow_is_read(tmp_path):
    for split, name in (("train", "dog/1.png"), ("valid", "3.png")):
        (tmp_path / split).mkdir()
        text = json.dumps(content({"bbox": [0, 0, 1, 1]}, names=(name,)))
        (tmp_path / split / "_annotations.coco.json").write_text(text)
    found = read_marks(tmp_path, IMAGES, CLASSES)
    assert [mark.image for mark in found.marks] == ["train/dog/1.png", "val/3.png"]


def test_a_polygon_with_nan_is_refused(read):
    with pytest.raises(
        ValueError, match=r"annotation 100 has edges at \[nan, 2\.0\]; expected finite numbers of pixels"
    ):
        read({"segmentation": [[1, 2, float("nan"), 2, 4, 4, 1, 4]]})


def test_an_outline_without_end_is_refused_by_a_stated_bound(read):
    zigzag = [value for _ in range(200) for value in (0, 0, 900_000, 5)]
    with pytest.raises(ValueError, match=r"has an outline of .* pixels; at most 2e\+06 can be drawn; correct it"):
        read({"segmentation": [zigzag]})


def test_a_run_without_end_is_refused(read):
    with pytest.raises(ValueError, match=r"a run of its counts has no end; export it again"):
        read({"segmentation": {"size": [6, 8], "counts": "o" * 1_000_000}})


@pytest.mark.parametrize("rotation", [90, "90.0", 270])
def test_boxes_that_cvat_turned(read, rotation):
    found = read({"bbox": [2, 2, 4, 2], "segmentation": [], "attributes": {"occluded": False, "rotation": rotation}})
    np.testing.assert_array_equal(found.marks[0].mask, naive_box(3, 1, 2, 4))  # about (4, 3)
    found = read({"bbox": [2, 2, 4, 2], "attributes": {"rotation": 0.0}})
    np.testing.assert_array_equal(found.marks[0].mask, naive_box(2, 2, 4, 2))


def test_folders_are_left_out_only_where_no_name_of_the_file_is_the_datas(tmp_path):
    """Another folder's image of the same name is not the data's, as where the data has some of the file's images."""
    box = {"bbox": [0, 0, 1, 1]}
    for names, images in {
        ("other/3.png",): ["val/3.png"],
        ("dog/2.png", "other/3.png"): ["val/dog/2.png"],
        ("val/3.png", "images/2.png"): ["val/3.png"],
    }.items():
        entries = [box | {"image_id": 10 + place} for place in range(len(names))]
        (tmp_path / "a.json").write_text(json.dumps(content(*entries, names=names)))
        assert [mark.image for mark in read_marks(tmp_path / "a.json", IMAGES, CLASSES).marks] == images


def test_lvis_names_images_by_their_address(tmp_path):
    coco = content({"bbox": [0, 0, 1, 1]})
    coco["images"] = [{"id": 10, "coco_url": "http://images.cocodataset.org/train2017/3.png", "height": 5, "width": 7}]
    (tmp_path / "a.json").write_text(json.dumps(coco))
    assert read_marks(tmp_path / "a.json", {"3.png": (5, 7)}, CLASSES).marks[0].image == "3.png"
