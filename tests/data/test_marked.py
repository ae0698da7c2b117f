import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from looksharp.data.folder import read_folder
from looksharp.data.hold_out import hold_out
from looksharp.data.marked import choose_marked, few
from looksharp.data.split import Data, Pixels
from looksharp.data.splits.memory import TensorSplit
from looksharp.marks.marks import Marks
from looksharp.training.settings import MarksConfig

COUNT = 20
ANNOTATED = [2, 3, 5, 7, 11, 13, 17, 19]


def an_l(place):
    """An L-shaped mask, its box not itself."""
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[1 : 3 + place % 4, 2] = True
    mask[2, 2:6] = True
    return mask


def in_memory(annotated=ANNOTATED):
    def split():
        marks = Marks(annotated, [place % 3 for place in annotated], [an_l(place) for place in annotated])
        return TensorSplit(
            targets=torch.arange(COUNT) % 3, marks=marks, images=torch.zeros(COUNT, 3, 8, 8, dtype=torch.uint8)
        )

    return Data("blobs", ("a", "b", "c"), {"train": split(), "val": split(), "test": split()}, Pixels((8, 8)))


def choice(marks="data", **options):
    return MarksConfig(marks=marks, **options)


def guided(seed=0, data=None, **options):
    return choose_marked(data or in_memory(), choice(**options), seed).splits["train"].marks


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "images"
    for split, count in {"train": 4, "val": 1}.items():
        for name in ("cat", "dog"):
            for n in range(count):
                path = root / split / name / f"{name}{n}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.full((6, 9, 3), n, np.uint8)).save(path)
    return root


def test_all_that_are_annotated():
    marks = guided()
    assert marks.images == ANNOTATED
    for place in ANNOTATED:
        ((label, mask),) = marks.of(place)
        assert label == place % 3
        assert torch.equal(mask, an_l(place))


@pytest.mark.parametrize(("wanted", "count"), [(1, 1), (3, 3), (8, 8), (0.1, 2), (0.4, 8), (0.35, 7)])
def test_a_number_or_a_share_of_all_training_images(wanted, count):
    marks = guided(marked=wanted)
    assert len(marks) == count
    assert set(marks.images) <= set(ANNOTATED)
    for place in marks.images:
        assert torch.equal(marks.of(place)[0][1], an_l(place))


def test_the_seed_chooses():
    assert guided(seed=1, marked=3).images == guided(seed=1, marked=3).images
    chosen = {tuple(guided(seed=seed, marked=3).images) for seed in range(40)}
    assert len(chosen) > 15
    assert {place for images in chosen for place in images} == set(ANNOTATED)


def test_fewer_are_among_more():
    """So that a curve over the number of guided images adds to what it had."""
    for seed in range(5):
        assert set(few(ANNOTATED, 2, COUNT, seed)) < set(few(ANNOTATED, 5, COUNT, seed))
    assert few([4, 1, 9], None, 10, 0) == [4, 1, 9]


def test_boxes_stand_for_masks():
    marks = guided(mark_boxes=True, marked=4, seed=2)
    assert marks.images == guided(marked=4, seed=2).images
    for place in marks.images:
        want = torch.zeros(8, 8, dtype=torch.bool)
        want[1 : max(3 + place % 4, 3), 2:6] = True
        assert torch.equal(marks.of(place)[0][1], want)


def test_without_guidance_training_sees_no_mask_and_tests_do():
    data = in_memory()
    chosen = choose_marked(data, MarksConfig(), 0)
    assert chosen.splits["train"].marks is None
    assert chosen.splits["val"].marks.images == chosen.splits["test"].marks.images == ANNOTATED
    assert data.splits["train"].marks.images == ANNOTATED  # as it was
    assert torch.equal(chosen.splits["train"].targets, data.splits["train"].targets)


def test_guidance_leaves_the_other_splits_alone():
    data = in_memory()
    chosen = choose_marked(data, choice(marked=1, mark_boxes=True), 0)
    for name in ("val", "test"):
        assert chosen.splits[name] is data.splits[name]
    assert list(chosen.splits) == list(data.splits)


def test_chosen_classes_alone():
    marks = guided(marked_classes=["a", "c"])
    assert marks.images == [place for place in ANNOTATED if place % 3 != 1]
    assert set(guided(marked_classes=["a"], marked=1).labels) == {0}


def test_an_image_keeps_all_its_chosen_pairs():
    train = TensorSplit(
        targets=torch.zeros(4, 3),
        marks=Marks([1, 1, 2, 1], [0, 1, 2, 2], [an_l(n) for n in range(4)]),
        images=torch.zeros(4, 3, 8, 8, dtype=torch.uint8),
    )
    data = replace(in_memory(), splits={"train": train, "val": train})
    assert sorted(guided(data=data).restricted([1]).labels) == [0, 1, 2]
    assert sorted(guided(data=data, marked_classes=["b", "c"]).restricted([1]).labels) == [1, 2]


def test_marks_from_a_coco_file(folder, tmp_path):
    names = ["train/dog/dog3.png", "train/cat/cat1.png", "val/cat/cat0.png"]
    content = {
        "images": [{"id": n, "file_name": name} for n, name in enumerate(names)],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}, {"id": 3, "name": "cow"}],
        "annotations": [
            {"image_id": 0, "category_id": 2, "bbox": [1, 2, 3, 4]},
            {"image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 1]},
            {"image_id": 1, "category_id": 3, "bbox": [0, 0, 9, 1]},
            {"image_id": 2, "category_id": 1, "bbox": [0, 0, 9, 1]},
        ],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    data = choose_marked(hold_out(read_folder(folder)), choice(str(tmp_path / "boxes.json")), 0)
    train = data.splits["train"]
    found = {
        (train.paths[image], label): mask.nonzero().tolist()
        for image in train.marks.images
        for label, mask in train.marks.of(image)
    }
    assert found == {
        ("train/dog/dog3.png", 1): [[row, column] for row in range(2, 6) for column in range(1, 4)],
        ("train/cat/cat1.png", 0): [[0, column] for column in range(9)],
    }
    assert data.notes == {"marks: class not in the data": 1, "marks: image not in the data": 1}
    assert data.splits["val"].marks is None


def test_marks_from_a_folder_of_masks(folder, tmp_path):
    pixels = np.zeros((6, 9), np.uint8)
    pixels[4, 5:8] = 255
    for path in ("train/cat/cat2.png", "dog/dog0.png"):
        file = tmp_path / "masks" / path
        file.parent.mkdir(parents=True)
        Image.fromarray(pixels).save(file)
    (tmp_path / "masks" / "dog" / "dog0.png").rename(tmp_path / "masks" / "dog" / "dog1.png")  # val has a dog0 too
    train = choose_marked(hold_out(read_folder(folder)), choice(str(tmp_path / "masks")), 0).splits["train"]
    assert [train.paths[image] for image in train.marks.images] == ["train/cat/cat2.png", "train/dog/dog1.png"]
    for image in train.marks.images:
        ((label, mask),) = train.marks.of(image)
        assert label == train.targets[image]
        assert mask.nonzero().tolist() == [[4, 5], [4, 6], [4, 7]]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (9, "marked is 9, which makes 9 images; 8 are marked"),
        (0.5, "marked is 0.5, which makes 10 images; 8 are marked"),
        (0.01, "marked is 0.01, which makes 0 images; 8 are marked"),
        (0, "marked must be above 0; got 0"),
        (-2, "marked must be above 0; got -2"),
    ],
)
def test_more_than_are_annotated(wanted, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        guided(marked=wanted)


def test_data_without_masks_cannot_guide():
    message = r"^marks is 'data', but blobs has no masks; name a file or folder of marks$"
    data = in_memory()
    bare = replace(data, splits=data.splits | {"train": replace(data.splits["train"], marks=None)})
    for empty in (bare, in_memory(annotated=[])):
        with pytest.raises(ValueError, match=message):
            guided(data=empty)


def test_files_guide_images_that_are_files():
    with pytest.raises(
        ValueError, match=r"^marks from a/b\.json need images that are files; blobs is not an image folder$"
    ):
        guided(marks="a/b.json")


def test_annotations_must_be_there(folder, tmp_path):
    with pytest.raises(ValueError, match=r"^marks must be a COCO \.json file.*got .*no\.json"):
        choose_marked(hold_out(read_folder(folder)), choice(str(tmp_path / "no.json")), 0)


def test_annotations_must_fit_a_training_image(folder, tmp_path):
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.full((6, 9), 255, np.uint8)).save(tmp_path / "masks" / "cow.png")
    with pytest.raises(ValueError, match=r"masks holds no mark that can be used \(image not in the data: 1"):
        choose_marked(hold_out(read_folder(folder)), choice(str(tmp_path / "masks")), 0)


def test_marked_classes_must_be_classes():
    with pytest.raises(ValueError, match=r"^marked_classes names 'd', which is not one of the classes a, b, c$"):
        guided(marked_classes=["a", "d"])


@pytest.mark.parametrize(("classes", "named"), [(["b"], "b"), ([], "empty")])
def test_marked_classes_must_be_annotated(classes, named):
    with pytest.raises(ValueError, match=rf"^marked_classes is {named}, but no mark is of such a class$"):
        guided(data=in_memory(annotated=[3, 5]), marked_classes=classes)


def test_marks_of_a_class_that_the_image_lacks_are_counted(folder, tmp_path):
    content = {
        "images": [{"id": n, "file_name": f"train/cat/cat{n}.png"} for n in range(2)],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [
            {"image_id": 0, "category_id": 1, "bbox": [0, 0, 3, 3]},
            {"image_id": 0, "category_id": 2, "bbox": [0, 0, 3, 3]},
            {"image_id": 1, "category_id": 2, "bbox": [0, 0, 3, 3]},
        ],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    before = hold_out(read_folder(folder))
    data = choose_marked(before, choice(str(tmp_path / "a.json")), 0)
    assert data.notes == {"marks: of a class that the image is not labelled with (used)": 2}
    assert before.notes == {}
    assert len(data.splits["train"].marks) == 3
    several = replace(before.splits["train"], targets=torch.tensor([[1, 1]] * 2 + [[1, 0]] * 2 + [[0, 1]] * 4))
    data = choose_marked(
        replace(before, splits=before.splits | {"train": several}), choice(str(tmp_path / "a.json")), 0
    )
    assert data.notes == {}


def test_crowds_are_marks_where_asked_for(folder, tmp_path):
    content = {
        "images": [{"id": 0, "file_name": "train/cat/cat0.png"}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{"image_id": 0, "category_id": 1, "bbox": [0, 0, 3, 3], "iscrowd": 1}],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="iscrowd: 1"):
        choose_marked(hold_out(read_folder(folder)), choice(str(tmp_path / "a.json")), 0)
    data = choose_marked(hold_out(read_folder(folder)), choice(str(tmp_path / "a.json"), mark_crowds=True), 0)
    assert len(data.splits["train"].marks) == 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("stored", [True, False])
def test_marks_lie_on_photographs_whichever_way_the_camera_was_held(tmp_path, orientation, stored):
    """White pixels are marked, in coordinates of the pixels as stored or of the picture as shown."""
    pixels = np.zeros((6, 8), dtype=np.uint8)
    pixels[1:3, 2:7] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in (
        "train/cat/1.png",
        "train/cat/2.png",
        "train/dog/1.png",
        "train/dog/2.png",
        "val/cat/3.png",
        "val/dog/3.png",
    ):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).convert("RGB").save(tmp_path / "images" / name, exif=exif)
    with Image.open(tmp_path / "images" / "train/cat/1.png") as opened:
        shown = pixels if stored else np.asarray(ImageOps.exif_transpose(opened).convert("L"))
    rows, columns = np.nonzero(shown)
    left, top, right, bottom = int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1
    content = {
        "images": [{"id": 0, "file_name": "train/cat/1.png", "height": shown.shape[0], "width": shown.shape[1]}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{"image_id": 0, "category_id": 1, "bbox": [left, top, right - left, bottom - top]}],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    asked = choice(str(tmp_path / "a.json"), marks_orientation="stored" if stored else "upright")
    train = choose_marked(read_folder(tmp_path / "images"), asked, 0).splits["train"]
    ((_, mask),) = train.marks.of(0)
    assert torch.equal(mask, train.image(0)[0] > 127)
