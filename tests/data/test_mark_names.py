import json

import pytest
import torch

from looksharp.data.mark_names import HeldSizes, held_name, names_held_images
from looksharp.data.marked import choose_marked
from looksharp.data.sets.synthetic import biased_digits
from looksharp.training.settings import MarksConfig


@pytest.fixture(scope="module")
def data():
    return biased_digits(1.0, 6, 1, 1, seed=0)


def _write(path, name, label, box):
    content = {
        "images": [{"id": 1, "file_name": name}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": box}],
        "categories": [{"id": 1, "name": label}],
    }
    path.write_text(json.dumps(content))
    return str(path)


def test_images_in_memory_are_marked_by_their_place(data, tmp_path):
    path = _write(tmp_path / "a.json", "images/000004.png", data.classes[7], [10, 20, 5, 6])
    marks = choose_marked(data, MarksConfig(path), 0).splits["train"].marks
    expected = torch.zeros(48, 48, dtype=torch.bool)
    expected[20:26, 10:15] = True
    assert marks.images == [4]
    ((label, mask),) = marks.of(4)
    assert label == 7
    assert torch.equal(mask, expected)


def test_a_place_that_there_is_not_marks_nothing(data, tmp_path):
    path = _write(tmp_path / "a.json", "images/000006.png", data.classes[7], [10, 20, 5, 6])
    with pytest.raises(ValueError, match="image not in the data: 1"):
        choose_marked(data, MarksConfig(path), 0)


def test_sizes_by_name(data):
    sizes = HeldSizes(data.splits["train"])
    assert dict(sizes) == {held_name(place): (48, 48) for place in range(6)}
    for name in ("images/000006.png", "images/0000001.png", "1.png", "../images/000001.png"):
        with pytest.raises(KeyError):
            sizes[name]


def test_files_that_name_other_images_are_told_apart(tmp_path):
    assert not names_held_images(tmp_path)
    assert not names_held_images(tmp_path / "none.json")
    _write(tmp_path / "a.json", "dog/1.png", "dog", [0, 0, 1, 1])
    assert not names_held_images(tmp_path / "a.json")
