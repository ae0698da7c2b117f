import json
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from looksharp.images.headers import ImageSizes
from looksharp.marks.mark import Mark
from looksharp.marks.reading import read_marks
from looksharp.marks.union import box_mask
from looksharp.studio.mark_store import MarkStore
from looksharp.studio.strokes import Stroke

SIZES = {"train/cat/1.png": (16, 20), "train/dog/1.png": (16, 20), "train/dog/2.png": (10, 10)}
BOX = Stroke("rectangle", ((2.0, 3.0), (8.0, 9.0)))


@pytest.fixture
def store(tmp_path):
    return MarkStore(tmp_path / "studio" / "marks.json", SIZES, ["cat", "dog"])


def _read(store):
    return {(mark.image, mark.label): mark.mask for mark in read_marks(store.path, SIZES, ["cat", "dog"]).marks}


def test_strokes_become_the_marks_that_training_reads(store):
    store.add("train/dog/1.png", "dog", BOX)
    store.add("train/dog/1.png", "dog", Stroke("brush", ((15.0, 12.0),), 2.0))
    store.add("train/cat/1.png", "cat", Stroke("polygon", ((0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (0.0, 10.0))))
    rows, columns = np.mgrid[:16, :20] + 0.5
    expected = box_mask((2, 3, 8, 9), (16, 20)) | ((rows - 12) ** 2 + (columns - 15) ** 2 <= 4)
    found = _read(store)
    assert list(found) == [("train/dog/1.png", "dog"), ("train/cat/1.png", "cat")]
    np.testing.assert_array_equal(found["train/dog/1.png", "dog"], expected)
    assert found["train/cat/1.png", "cat"].sum() == 100
    np.testing.assert_array_equal(store.masks("train/dog/1.png")["dog"], expected)
    assert store.marked() == {"train/dog/1.png", "train/cat/1.png"}


def test_undo_takes_the_last_stroke_of_that_image(store):
    store.add("train/dog/1.png", "dog", BOX)
    store.add("train/dog/1.png", "dog", Stroke("brush", ((15.0, 12.0),), 2.0))
    store.add("train/dog/2.png", "dog", Stroke("rectangle", ((0.0, 0.0), (4.0, 4.0))))
    assert store.undo("train/dog/1.png") == "brush"
    assert store.masks("train/dog/1.png")["dog"].sum() == 36
    assert MarkStore(store.path, SIZES, ["cat", "dog"]).undo("train/dog/1.png") == "rectangle"  # after a restart too
    assert store.undo("train/dog/1.png") is None
    assert store.marked() == {"train/dog/2.png"}


def test_what_was_taken_back_is_put_back_until_something_else_is_drawn(store):
    image, other = "train/dog/1.png", "train/cat/1.png"
    strokes = [Stroke("rectangle", ((start, 1.0), (start + 3.0, 6.0))) for start in (0.0, 4.0)]
    for stroke in strokes:
        store.add(image, "dog", stroke)
    both = store.masks(image)["dog"]
    assert (store.redo(image), store.undo(image), store.undo(image)) == (None, "rectangle", "rectangle")
    assert store.redo(other) is None
    assert store.redo(image) == "rectangle"
    np.testing.assert_array_equal(store.masks(image)["dog"], stroke_mask(strokes[0], both.shape))
    assert store.redo(image) == "rectangle"
    np.testing.assert_array_equal(store.masks(image)["dog"], both)
    store.undo(image)
    store.add(other, "cat", strokes[0])
    assert store.redo(image) is None


def stroke_mask(stroke, size):
    (left, top), (right, bottom) = stroke.points
    return box_mask((left, top, right, bottom), size)


def test_marks_of_other_tools_stay_and_cannot_be_undone(store):
    store.add("train/dog/1.png", "dog", BOX)
    content = json.loads(store.path.read_text())
    content["info"] = {"by": "another tool"}
    content["images"].append({"id": "x", "file_name": "cat/1.png"})
    content["annotations"].append({"id": 7, "image_id": "x", "category_id": 1, "bbox": [0, 0, 5, 5]})
    store.path.write_text(json.dumps(content))
    store.add("train/dog/2.png", "dog", Stroke("rectangle", ((0.0, 0.0), (4.0, 4.0))))
    assert store.marked() == set(SIZES)
    assert store.masks("train/cat/1.png")["cat"].sum() == 25
    assert store.undo("train/cat/1.png") is None
    found = json.loads(store.path.read_text())
    assert found["info"] == {"by": "another tool"}
    assert sorted(entry["id"] for entry in found["annotations"]) == [1, 7, 8]
    assert {key: mask.sum() for key, mask in _read(store).items()} == {
        ("train/dog/1.png", "dog"): 36,
        ("train/cat/1.png", "cat"): 25,
        ("train/dog/2.png", "dog"): 16,
    }


def test_ids_that_are_text_are_not_used_again(store):
    store.path.parent.mkdir()
    content = {
        "images": [{"id": "1", "file_name": "train/cat/1.png"}],
        "categories": [{"id": "1", "name": "cat"}],
        "annotations": [{"id": "1", "image_id": "1", "category_id": "1", "bbox": [0, 0, 5, 5]}],
    }
    store.path.write_text(json.dumps(content))
    store.add("train/dog/1.png", "dog", BOX)
    assert {key: mask.sum() for key, mask in _read(store).items()} == {
        ("train/cat/1.png", "cat"): 25,
        ("train/dog/1.png", "dog"): 36,
    }


WRITER = """
import sys
from pathlib import Path
from looksharp.studio.mark_store import MarkStore
from looksharp.studio.strokes import Stroke
store = MarkStore(Path(sys.argv[1]), {"a.png": (4000, 4000), "b.png": (4000, 4000)}, ["cat", "dog"])
for number in range(3000):
    store.add(sys.argv[2], "cat", Stroke("rectangle", ((number, number), (number + 2.0, number + 2.0))))
    print(number, flush=True)
"""


def test_two_processes_lose_nothing_when_one_is_killed(tmp_path):
    path = tmp_path / "marks.json"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, path, name], stdout=subprocess.PIPE, text=True)
        for name in ("a.png", "b.png")
    ]
    said = {name: [int(writer.stdout.readline()) for _ in range(8)] for name, writer in zip("ab", writers, strict=True)}
    writers[0].send_signal(signal.SIGKILL)
    said["b"] += [int(writers[1].stdout.readline()) for _ in range(8)]
    for writer in writers:
        writer.kill()
    for name, writer in zip("ab", writers, strict=True):
        said[name] += [int(line) for line in writer.stdout.read().split("\n") if line.strip()]
        writer.stdout.close()
        writer.wait()
    content = json.loads(path.read_text())  # whole, whatever the moment
    names = {entry["id"]: entry["file_name"] for entry in content["images"]}
    for name in "ab":
        kept = {e["bbox"][0] for e in content["annotations"] if names[e["image_id"]] == f"{name}.png"}
        assert set(said[name]) <= kept


def test_imported_marks_join_and_a_second_import_adds_none(store):
    store.add("train/dog/1.png", "dog", BOX)
    marks = [Mark("train/dog/1.png", "dog", box_mask((10, 10, 20, 16), (16, 20)))]
    assert store.add_marks(marks) == 1
    assert store.add_marks(marks) == 0
    assert store.masks("train/dog/1.png")["dog"].sum() == 36 + 60


def test_coordinates_are_those_of_the_upright_image(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying, shown upright
    Image.new("RGB", (30, 20)).save(tmp_path / "lying.jpg", exif=exif)
    sizes = ImageSizes(tmp_path, ["lying.jpg"])
    store = MarkStore(tmp_path / "marks.json", sizes, ["cat"])
    store.add("lying.jpg", "cat", Stroke("rectangle", ((0.0, 25.0), (20.0, 30.0))))
    assert store.masks("lying.jpg")["cat"].shape == (30, 20)
    (mark,) = read_marks(store.path, sizes, ["cat"]).marks
    np.testing.assert_array_equal(mark.mask, box_mask((0, 25, 20, 30), (30, 20)))
    assert json.loads(store.path.read_text())["images"][0] | {"id": 1} == {
        "id": 1, "file_name": "lying.jpg", "height": 30, "width": 20
    }  # fmt: skip


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"images": []}', "\xff", '{"images": [], "categories": [], "annotations": 3}']
)
@pytest.mark.parametrize("ask", [lambda s: s.add("train/dog/1.png", "dog", BOX), lambda s: s.marked()])
def test_a_damaged_file_is_one_line_and_stays(store, text, ask):
    store.path.parent.mkdir()
    store.path.write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=r"marks\.json") as error:
        ask(store)
    assert "\n" not in str(error.value)
    assert store.path.read_text(encoding="latin-1") == text


@pytest.mark.parametrize(("image", "label"), [("../../etc/passwd", "dog"), ("train/dog/1.png", "cow")])
def test_other_images_and_classes_are_refused(store, image, label):
    with pytest.raises(ValueError, match="there is no image"):
        store.add(image, label, BOX)
    assert not store.path.exists()


def test_a_polygon_without_area_and_an_empty_mask_are_refused(store):
    with pytest.raises(ValueError, match="polygon"):
        store.add("train/dog/1.png", "dog", Stroke("polygon", ((1.0, 1.0), (5.0, 1.0), (9.0, 1.0))))
    with pytest.raises(ValueError, match="wholly outside"):
        store.add("train/dog/1.png", "dog", Stroke("polygon", ((31.0, 1.0), (35.0, 1.0), (39.0, 9.0))))
    with pytest.raises(ValueError, match="mask of the image's size"):
        store.add_mask("train/dog/1.png", "dog", np.zeros((16, 20), dtype=bool))
    with pytest.raises(ValueError, match="mask of the image's size"):
        store.add_mask("train/dog/1.png", "dog", np.ones((4, 4), dtype=bool))
    assert not store.path.exists()
