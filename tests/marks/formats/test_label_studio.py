import json
import math

import numpy as np
import pytest

from looksharp.marks.reading import read_marks

IMAGES = {"train/dog/1.png": (60, 80), "train/cat/2.png": (60, 80)}
CLASSES = ["cat", "dog"]


def result(kind, value, labels=("dog",), **more):
    return {
        "original_width": 80,
        "original_height": 60,
        "image_rotation": 0,
        "value": value | {kind: list(labels)},
        "id": "x1",
        "from_name": "label",
        "to_name": "image",
        "type": kind,
    } | more


def task(*results, image="/data/upload/1/5f3e1a2b-1.png", **more):
    return {"id": 1, "data": {"image": image}, "annotations": [{"id": 1, "result": list(results)} | more]}


@pytest.fixture
def read(tmp_path):
    def read(*tasks):
        (tmp_path / "project.json").write_text(json.dumps(list(tasks)))
        return read_marks(tmp_path / "project.json", IMAGES, CLASSES)

    return read


def box(x, y, width, height, **more):
    return {"x": x, "y": y, "width": width, "height": height} | more


def filled(left, top, right, bottom):
    mask = np.zeros((60, 80), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def test_numbers_are_percent_of_the_image(read):
    found = read(task(result("rectanglelabels", box(25, 50, 12.5, 10))))
    assert [(mark.image, mark.label) for mark in found.marks] == [("train/dog/1.png", "dog")]
    np.testing.assert_array_equal(found.marks[0].mask, filled(20, 30, 30, 36))


@pytest.mark.parametrize(
    ("degrees", "expected"), [(90, (10, 20, 20, 50)), (180, (-10, 10, 20, 20)), (0, (20, 20, 50, 30))]
)
def test_boxes_turn_about_their_first_corner(read, degrees, expected):
    left, top, right, bottom = expected  # 30 x 10 pixels from (20, 20)
    found = read(task(result("rectanglelabels", box(25, 100 / 3, 37.5, 100 / 6, rotation=degrees))))
    np.testing.assert_array_equal(found.marks[0].mask, filled(max(left, 0), top, right, bottom))


def test_a_box_turned_by_any_angle(read):
    found = read(task(result("rectanglelabels", box(50, 50, 25, 10, rotation=30))))
    rows, columns = np.mgrid[:60, :80] + 0.5
    angle = math.radians(30)
    along = (columns - 40) * math.cos(angle) + (rows - 30) * math.sin(angle)
    across = (rows - 30) * math.cos(angle) - (columns - 40) * math.sin(angle)
    excess = np.maximum(abs(along - 10) - 10, abs(across - 3) - 3)
    assert found.marks[0].mask[excess < -1].all()
    assert not found.marks[0].mask[excess > 1].any()


def test_ellipses_and_polygons(read):
    ellipse = result("ellipselabels", {"x": 50, "y": 50, "radiusX": 25, "radiusY": 15, "rotation": 0})
    polygon = result("polygonlabels", {"points": [[0, 0], [10, 0], [10, 20], [0, 20]]}, ["cat"])
    dog, cat = read(task(ellipse, polygon)).marks
    rows, columns = np.mgrid[:60, :80] + 0.5
    np.testing.assert_array_equal(dog.mask, ((columns - 40) / 20) ** 2 + ((rows - 30) / 9) ** 2 <= 1)
    np.testing.assert_array_equal(cat.mask, filled(0, 0, 8, 12))


def test_strokes_with_runs_of_every_kind(read):
    """By hand: a repeated value, a list of values, and lengths of 3, 4, 8 and 16 bits."""
    mask = filled(0, 0, 80, 1) | filled(3, 7, 5, 8)
    values = np.repeat(mask.ravel().astype(int) * 255, 4).tolist()
    lengths = (3, 4, 8, 16)
    bits = f"{len(values):032b}{7:05b}" + "".join(f"{length - 1:04b}" for length in lengths)
    place, turn = 0, 0
    while place < len(values):
        choice = turn % 4
        count = min(2 ** lengths[choice], len(values) - place)
        same = next((n for n in range(count) if values[place + n] != values[place]), count)
        count = same if turn % 3 else count
        run = f"{count - 1:0{lengths[choice]}b}"
        if turn % 3:
            bits += "1" + f"{choice:02b}" + run + f"{values[place]:08b}"
        else:
            bits += "0" + f"{choice:02b}" + run + "".join(f"{value:08b}" for value in values[place : place + count])
        place, turn = place + count, turn + 1
    bits += "0" * (-len(bits) % 8)
    rle = [int(bits[start : start + 8], 2) for start in range(0, len(bits), 8)]
    found = read(task(result("brushlabels", {"format": "rle", "rle": rle})))
    np.testing.assert_array_equal(found.marks[0].mask, mask)


def test_what_is_no_mark_is_passed_over(read):
    choice = {"type": "choices", "value": {"choices": ["blurred"]}, "from_name": "quality", "to_name": "image"}
    relation = {"type": "relation", "from_id": "a", "to_id": "b", "direction": "right"}
    plain = {"type": "rectangle", "value": box(0, 0, 10, 10)}  # without a label, of two tools on one region
    cancelled = task(result("rectanglelabels", box(0, 0, 90, 90)), was_cancelled=True)
    found = read(cancelled, task(choice, relation, result("rectanglelabels", box(0, 0, 10, 10))), task(image="x.png"))
    assert [mark.mask.sum() for mark in found.marks] == [48]
    assert found.skipped == {}
    with pytest.raises(ValueError, match=r"task 1, result 1 must have a list of labels; label the rectangle there"):
        read(task(plain))


def test_images_and_classes_that_the_data_lacks_are_counted(read):
    good = result("rectanglelabels", box(0, 0, 10, 10))
    found = read(
        task(good),
        task(good, good, image="https://e.org/nothing.png"),
        task(good | {"value": box(0, 0, 1, 1) | {"labels": ["cow"]}}),
    )
    assert found.skipped == {"image not in the data": 2, "class not in the data": 1}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            result("keypointlabels", {"x": 1, "y": 1, "width": 1}),
            r"result 1 is a keypoint, which marks no area; draw a re",
        ),
        (result("rectanglelabels", box(0, 0, 9, 9), image_rotation=90), r"is drawn on an image turned in Label Studio"),
        (
            result("rectanglelabels", box(0, 0, 9, 9), original_width=90),
            r"is for an image of 60x90 pixels .* has 60x80",
        ),
        (
            result("rectanglelabels", box(0, 0, 9, None)),
            r"task 1, result 1 must have a number height; got 'None'; export",
        ),
        (result("rectanglelabels", box(0, 0, 9, float("nan"))), r"must have a number height; got 'nan'"),
        (
            result("rectanglelabels", box(0, 0, 9, 9), original_width="80"),
            r"must have a number original_width; got '80'",
        ),
        (result("polygonlabels", {"points": [[0, 0], [1]]}), r"must have points \[\[x, y\], \.\.\.\]; export it again"),
        (result("brushlabels", {"rle": "abc"}), r"must have an rle, a list of bytes; export it again"),
        (
            result("brushlabels", {"rle": [0, 0, 1]}),
            r"has an rle that cannot be read: it ends too early; export it again",
        ),
        (result("brushlabels", {"rle": [0] * 40}), r"it has 0 values for 80 x 60 pixels of 4"),
        (result("brushlabels", {"rle": [255] * 40}), r"it has 4294967295 values for 80 x 60 pixels of 4"),
        (result("brushlabels", {"rle": [0, 0, 75, 0, *[255] * 40]}), r"it has too many values"),
    ],
)
def test_results_that_fit_not_are_refused(read, bad, message):
    with pytest.raises(ValueError, match=message) as caught:
        read(task(bad))
    assert "project.json: task 1" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"annotations": [{"result": []}]}, r"task 1 must have data and annotations; export it again"),
        (
            {"data": {"text": 3}, "annotations": [{"result": []}]},
            r"task 1 must name its image in data; export it again",
        ),
        ({"data": {"image": "1.png"}, "annotations": [{"result": 3}]}, r"must have annotations with lists of results"),
        (task(), r"holds no mark that can be used \(it is empty\)"),
    ],
)
def test_tasks_that_fit_not_are_refused(read, bad, message):
    with pytest.raises(ValueError, match=message):
        read(bad)
