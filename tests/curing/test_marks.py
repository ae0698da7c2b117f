import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from looksharp.curing import retraining
from looksharp.curing.marks import HELD_OUT, choose_marks
from looksharp.curing.settings import CureSettings
from looksharp.data.folder import read_folder
from looksharp.data.hold_out import hold_out
from looksharp.data.marked import choose_marked
from looksharp.data.sets.synthetic import biased_digits
from looksharp.training.settings import MarksConfig, RunConfig

CLASSES = ("cat", "dog")


@pytest.fixture
def folder(tmp_path):
    """Images in train, val and test, each of its own colour; no masks."""
    root = tmp_path / "images"
    for split, count in {"train": 10, "val": 3, "test": 4}.items():
        for place, name in enumerate(CLASSES):
            (root / split / name).mkdir(parents=True)
            for n in range(count):
                pixels = np.full((8, 12, 3), 20 * n + place, np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{split}{name}{n}.png")
    return root


@pytest.fixture
def boxes(folder, tmp_path):
    """A COCO file of boxes at row 1, column n of the images that are given as (split, class, n)."""

    def boxes(*images, short=False):
        names = [f"{split}/{name}/{split}{name}{n}.png" for split, name, n in images]
        content = {
            "images": [{"id": i, "file_name": n.partition("/")[2] if short else n} for i, n in enumerate(names)],
            "categories": [{"id": i, "name": name} for i, name in enumerate(CLASSES)],
            "annotations": [
                {"image_id": i, "category_id": CLASSES.index(name), "bbox": [n, 1, 3, 2]}
                for i, (_, name, n) in enumerate(images)
            ],
        }
        path = tmp_path / "boxes.json"
        path.write_text(json.dumps(content))
        return MarksConfig(str(path), marked_per_batch=2)

    return boxes


def every(split, count):
    return [(split, name, n) for name in CLASSES for n in range(count)]


def marked(split):
    """Path -> where its mask begins (row, column)."""
    return {
        split.paths[image]: tuple(mask.nonzero()[0].tolist())
        for image in split.marks.images
        for _, mask in split.marks.of(image)
    }


def test_test_splits_with_masks_are_the_proof(tmp_path):
    data = biased_digits(train=40, val=20, test=20)
    marks = choose_marks(data, MarksConfig("data", marked=8), 3, tmp_path / "out")
    assert list(marks.proofs) == ["biased", "unbiased", "conflicting", "val"]
    assert (marks.marked, marks.note) == (8, "")
    assert marks.settings == MarksConfig("data", marked=8)
    expected = choose_marked(data, MarksConfig("data", marked=8), 3).splits["train"].marks.images
    assert marks.data.splits["train"].marks.images == expected
    # The run itself reads the same ones again.
    again = choose_marked(marks.data, marks.settings, 3).splits["train"].marks.images
    assert again == expected
    assert not (tmp_path / "out").exists()


def test_a_quarter_is_held_out_where_only_training_images_are_marked(folder, boxes, tmp_path):
    marks = choose_marks(hold_out(read_folder(folder)), boxes(*every("train", 9)), 0, tmp_path / "out")
    assert list(marks.proofs) == [HELD_OUT]
    held_out, guiding = marked(marks.proofs[HELD_OUT]), marked(marks.data.splits["train"])
    assert Counter(path.split("/")[1] for path in held_out) == {"cat": 2, "dog": 2}
    assert marks.marked == len(guiding) == 14
    assert held_out.keys().isdisjoint(guiding)
    # Every mark is where it was drawn, and every image the one it belongs to.
    assert held_out | guiding == {f"train/{name}/train{name}{n}.png": (1, n) for _, name, n in every("train", 9)}
    proof = marks.proofs[HELD_OUT]
    for place, path in enumerate(proof.paths):
        assert CLASSES[proof.targets[place]] == path.split("/")[1]
        assert proof.image(place)[0, 0, 0] == 20 * int(path[-5]) + proof.targets[place]
    assert marks.note.startswith("No test or validation split has enough masks, so 4 of the 18 marked training images")


@pytest.mark.parametrize(("count", "expected"), [(2, 1), (3, 1), (4, 2), (8, 2), (10, 2)])
def test_at_least_two_of_a_class_but_never_more_than_half(count, expected, folder, boxes, tmp_path):
    images = [*every("train", 10)[:10], *(("train", "dog", n) for n in range(count))]
    marks = choose_marks(hold_out(read_folder(folder)), boxes(*images), 0, tmp_path / "out")
    if expected < 2:  # the other class alone is no proof
        assert marks.proofs == {}
        assert marks.marked == 10 + count
    else:
        found = Counter(path.split("/")[1] for path in marks.proofs[HELD_OUT].paths)
        assert found == {"cat": 2, "dog": expected}


def test_what_guides_is_on_record(folder, boxes, tmp_path):
    data, out = hold_out(read_folder(folder)), tmp_path / "out"
    marks = choose_marks(data, boxes(*every("train", 9)), 0, out)
    assert marks.settings == MarksConfig(str(out / "marks.json"), marked_per_batch=2)
    read = choose_marked(hold_out(read_folder(folder)), marks.settings, 0)
    assert marked(read.splits["train"]) == marked(marks.data.splits["train"])
    choose_marks(data, boxes(*every("train", 9)), 0, out)
    with pytest.raises(ValueError, match=r"out holds a cure with other marks; choose another --out, or remove it$"):
        choose_marks(data, boxes(*every("train", 8)), 0, out)


def test_marks_of_other_splits_are_the_proof(folder, boxes, tmp_path):
    images = [*every("train", 4), *every("test", 3), ("val", "cat", 1)]
    marks = choose_marks(hold_out(read_folder(folder)), boxes(*images), 0, tmp_path / "out")
    assert list(marks.proofs) == ["test"]
    assert marked(marks.proofs["test"]) == {f"test/{c}/test{c}{n}.png": (1, n) for _, c, n in every("test", 3)}
    assert (marks.marked, marks.note) == (8, "")


def test_a_few_marks_of_other_splits_join_those_held_out(folder, boxes, tmp_path):
    images = [*every("train", 8), ("val", "cat", 1), ("test", "dog", 2)]
    marks = choose_marks(hold_out(read_folder(folder)), boxes(*images), 0, tmp_path / "out")
    found = marked(marks.proofs[HELD_OUT])
    assert len(found) == 6
    assert found.items() >= {("val/cat/valcat1.png", (1, 1)), ("test/dog/testdog2.png", (1, 2))}
    assert "so 4 of the 16 marked" in marks.note
    assert "2 marked images of other splits joined them." in marks.note


def test_names_without_a_split_mean_training_images(folder, boxes, tmp_path):
    for split in ("val", "test"):
        for name in CLASSES:
            for n in range(3):
                (folder / split / name / f"{split}{name}{n}.png").rename(folder / split / name / f"train{name}{n}.png")
    marks = choose_marks(hold_out(read_folder(folder)), boxes(*every("train", 4), short=True), 0, tmp_path / "out")
    found = {**marked(marks.data.splits["train"]), **marked(marks.proofs[HELD_OUT])}
    assert found == {f"train/{name}/train{name}{n}.png": (1, n) for _, name, n in every("train", 4)}


def test_boxes_instead_of_masks(folder, tmp_path):
    pixels = np.zeros((8, 12), np.uint8)
    pixels[[1, 5], [2, 7]] = 255
    for name in CLASSES:
        for n in range(4):
            file = tmp_path / "masks" / "train" / name / f"train{name}{n}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(file)
    choice = MarksConfig(str(tmp_path / "masks"), mark_boxes=True)
    marks = choose_marks(hold_out(read_folder(folder)), choice, 0, tmp_path / "out")
    read = choose_marked(hold_out(read_folder(folder)), marks.settings, 0)
    for mask in (*marks.data.splits["train"].marks.masks, *read.splits["train"].marks.masks):
        assert torch.equal(mask.nonzero().amin(0), torch.tensor([1, 2]))
        assert mask.sum() == 5 * 6


def test_too_few_marks_are_no_proof(folder, boxes, tmp_path):
    marks = choose_marks(
        hold_out(read_folder(folder)), boxes(("train", "cat", 0), ("train", "dog", 1)), 0, tmp_path / "out"
    )
    assert (marks.proofs, marks.marked) == ({}, 2)
    assert marks.note.startswith("There is no proof: all marked images are used in training.")
    with pytest.raises(ValueError, match=r"^a cure needs at least 2 marked training images; got 1: mark more$"):
        choose_marks(hold_out(read_folder(folder)), boxes(("train", "cat", 0)), 0, tmp_path / "other")
    with pytest.raises(ValueError, match=r"boxes\.json marks no training image of .*images; mark some$"):
        choose_marks(hold_out(read_folder(folder)), boxes(*every("test", 3)), 0, tmp_path / "other")
    with pytest.raises(ValueError, match=r"^marks is 'data', but .* has no masks"):
        choose_marks(hold_out(read_folder(folder)), MarksConfig("data"), 0, tmp_path / "other")
    with pytest.raises(ValueError, match=r"need images that are files; biased_digits, rho 0\.98 is not an image"):
        choose_marks(biased_digits(train=8, val=4, test=4), boxes(), 0, tmp_path / "other")


def test_crowds_and_stored_pixels_are_read_where_a_cure_asks_for_them(folder, boxes, tmp_path):
    """Of `CureSettings`, as of a run; what is written down is upright."""
    read = boxes(*every("train", 9))
    content = json.loads(Path(read.marks).read_text())
    for entry in content["annotations"]:
        entry["iscrowd"] = 1
    Path(read.marks).write_text(json.dumps(content))
    with pytest.raises(ValueError, match="iscrowd: 18"):
        choose_marks(read_folder(folder), read, 0, tmp_path / "out")
    asked = CureSettings(run=folder, marks=read.marks, mark_crowds=True, marks_orientation="stored", marked_per_batch=2)
    config = retraining._marks(asked, RunConfig())
    assert (config.mark_crowds, config.marks_orientation) == (True, "stored")
    marks = choose_marks(read_folder(folder), config, 0, tmp_path / "out")
    assert marks.settings.marks_orientation == "upright"
    assert marks.marked == 14  # of 18, and four are held out
