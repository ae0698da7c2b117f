import json

import numpy as np
import pytest
from PIL import Image

from looksharp.data.folder import read_folder
from looksharp.data.sets.synthetic import biased_digits
from looksharp.marks.union import box_mask
from looksharp.studio import importing
from looksharp.studio.importing import import_marks, within


@pytest.fixture
def root(tmp_path):
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (tmp_path / "images" / split / name).mkdir(parents=True)
            for number in range(2):
                Image.new("RGB", (12, 8)).save(tmp_path / "images" / split / name / f"{number}.png")
    return tmp_path / "images"


def _coco(path, boxes):
    images = [{"id": number, "file_name": name} for number, name in enumerate(boxes)]
    annotations = [{"image_id": n, "category_id": 1, "bbox": box} for n, box in enumerate(boxes.values())]
    path.write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cat"}]})
    )


def test_names_lead_nowhere_but_into_the_folders(tmp_path, root):
    run = tmp_path / "run"
    run.mkdir()
    (run / "a.json").write_text("{}")
    (tmp_path / "secret.json").write_text("{}")
    (run / "link.json").symlink_to(tmp_path / "secret.json")
    assert within([run, root], "a.json") == run / "a.json"
    assert within([run, root], f" {run / 'a.json'} ") == run / "a.json"
    assert within([run, root], "train") == root / "train"
    for name in (
        "../secret.json",
        str(tmp_path / "secret.json"),
        "link.json",
        "/etc/passwd",
        ".",
        "",
        "\0",
        "x" * 5000,
    ):
        with pytest.raises(ValueError, match="there are no marks") as error:
            within([run, root], name)
        assert "\n" not in str(error.value)


def test_marks_of_every_split_of_the_folder_are_read(tmp_path, root):
    _coco(tmp_path / "marks.json", {"train/cat/0.png": [1, 2, 4, 3], "val/cat/1.png": [0, 0, 12, 8]})
    marks = import_marks(tmp_path / "marks.json", read_folder(root))
    assert [(mark.image, mark.label) for mark in marks] == [("train/cat/0.png", "cat"), ("val/cat/1.png", "cat")]
    np.testing.assert_array_equal(marks[0].mask, box_mask((1, 2, 5, 5), (8, 12)))


def test_marks_of_images_in_memory_are_read_by_their_place(tmp_path):
    data = biased_digits(1.0, 4, 1, 1, seed=0)
    content = {
        "images": [{"id": 1, "file_name": "images/000002.png"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [5, 6, 10, 10]}],
        "categories": [{"id": 1, "name": data.classes[3]}],
    }
    (tmp_path / "marks.json").write_text(json.dumps(content))
    (mark,) = import_marks(tmp_path / "marks.json", data)
    assert (mark.image, mark.label) == ("images/000002.png", data.classes[3])
    np.testing.assert_array_equal(mark.mask, box_mask((5, 6, 15, 16), (48, 48)))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.exe", b"MZ", "marks must be"),
        ("a.json", b"{", "is not JSON"),
        ("a.json", b"[1]", "is not a COCO instances file"),
        ("a.json", b"\xff\xfe\x00", "is not"),
    ],
)
def test_a_file_that_is_none_of_marks_is_one_line(tmp_path, root, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        import_marks(tmp_path / name, read_folder(root))
    assert "\n" not in str(error.value)


def test_a_file_or_folder_that_is_too_large_is_not_read(tmp_path, root, monkeypatch):
    monkeypatch.setattr(importing, "_LARGEST", 1 << 20)
    (tmp_path / "marks").mkdir()
    for name in ("a.json", "b.json"):
        (tmp_path / "marks" / name).write_bytes(b"{" * (700 << 10))
    for path in (tmp_path / "marks", root):
        if path == root:
            (root / "big.json").write_bytes(b"[" * (2 << 20))
        with pytest.raises(ValueError, match="has more than 1 MiB"):
            import_marks(path, read_folder(root))
