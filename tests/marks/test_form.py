import json

import pytest

from looksharp.marks.form import form_of

IMAGES = [("a/1.png", (6, 8)), ("b/2.png", (5, 7))]


def test_a_fresh_form_lists_the_images_and_nothing_drawn(tmp_path):
    assert form_of(tmp_path / "a.json", IMAGES, ["cat", "dog"]) == {
        "images": [
            {"id": 1, "file_name": "a/1.png", "height": 6, "width": 8},
            {"id": 2, "file_name": "b/2.png", "height": 5, "width": 7},
        ],
        "annotations": [],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }


def test_a_form_that_nobody_filled_in_is_replaced(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(form_of(path, [("old.png", (1, 1))], ["cow"])))
    assert form_of(path, IMAGES, ["cat"])["images"][0]["file_name"] == "a/1.png"
    assert len(form_of(path, IMAGES, ["cat"])["images"]) == 2


def test_what_somebody_drew_stays_and_new_images_join_it(tmp_path):
    path = tmp_path / "a.json"
    drawn = {
        "info": {"by": "a tool"},
        "images": [{"id": 40, "file_name": "b/2.png", "height": 5, "width": 7}, {"id": "x", "file_name": "old.png"}],
        "annotations": [{"id": 1, "image_id": "x", "category_id": 9, "bbox": [0, 0, 1, 1]}],
        "categories": [{"id": 9, "name": "dog"}],
    }
    path.write_text(json.dumps(drawn))
    assert form_of(path, IMAGES, ["cat", "dog"]) == drawn | {
        "images": [*drawn["images"], {"id": 41, "file_name": "a/1.png", "height": 6, "width": 8}],
        "categories": [{"id": 9, "name": "dog"}, {"id": 10, "name": "cat"}],
    }


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"images": []}', "\xff", '{"images": [], "categories": [], "annotations": 3}']
)
def test_a_file_that_cannot_be_read_is_not_overwritten(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(
        ValueError, match=r"a\.json .*; it would be overwritten: move .*a\.json, or choose another --out$"
    ):
        form_of(path, IMAGES, ["cat"])
