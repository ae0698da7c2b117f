import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask

from looksharp.data.build import DataConfig, build_data
from looksharp.data.marked import choose_marked
from looksharp.data.sets.coco_detection import read_coco_detection
from looksharp.training.settings import MarksConfig

HEIGHT, WIDTH = 6, 9
CATEGORIES = [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}, {"id": 90, "name": "toothbrush"}]


def square(left, top, side):
    return [[left, top, left + side, top, left + side, top + side, left, top + side]]


def pixels(left, top, width, height):
    mask = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    mask[top : top + height, left : left + width] = True
    return mask


def crowd():
    runs = coco_mask.encode(np.asfortranarray(np.ones((HEIGHT, WIDTH), np.uint8)))
    return {"size": runs["size"], "counts": runs["counts"].decode()}


class Coco:
    def __init__(self, root, year="2017"):
        self.root, self.year = root, year

    def split(self, name, objects, categories=CATEGORIES):
        """Images by number, each a list of (category, rest of the annotation)."""
        folder = self.root / f"{name}{self.year}"
        folder.mkdir(parents=True, exist_ok=True)
        (self.root / "annotations").mkdir(exist_ok=True)
        images, annotations = [], []
        for number, listed in objects.items():
            file = f"{number:012d}.jpg"
            Image.fromarray(np.full((HEIGHT, WIDTH), 9 * number, np.uint8)).save(folder / file)
            images.append({"id": number, "file_name": file, "height": HEIGHT, "width": WIDTH, "license": 3})
            for category, rest in listed:
                entry = {"id": len(annotations) + 1, "image_id": number, "category_id": category, "iscrowd": 0}
                annotations.append(entry | rest)
        content = {"images": images, "annotations": annotations, "categories": categories}
        (self.root / "annotations" / f"instances_{name}{self.year}.json").write_text(json.dumps(content))


OBJECTS = {
    7: [
        (18, {"segmentation": square(1, 1, 3)}),
        (18, {"segmentation": square(5, 2, 2)}),
        (1, {"segmentation": [], "bbox": [0, 0, 2, 4]}),
    ],
    5: [(90, {"segmentation": square(0, 0, 5)})],
    9: [],
    8: [(1, {"iscrowd": 1, "segmentation": crowd()}), (90, {"segmentation": square(3, 1, 4)})],
}


@pytest.fixture
def coco(tmp_path):
    made = Coco(tmp_path)
    made.split("train", OBJECTS)
    made.split("val", {3: [(18, {"bbox": [1, 1, 2, 2]}), (1, {"bbox": [0, 0, 1, 1]}), (90, {"bbox": [4, 4, 2, 2]})]})
    return made


def test_targets_masks_and_notes(coco):
    data = build_data(DataConfig("coco", coco.root, image_size=32))
    assert data.classes == ("person", "dog", "toothbrush")  # by number
    assert data.multilabel
    assert list(data.splits) == ["train", "val"]
    train, val = data.splits.values()
    assert train.paths == [f"{n:012d}.jpg" for n in OBJECTS]
    assert train.targets.tolist() == [[1, 1, 0], [0, 0, 1], [0, 0, 0], [1, 0, 1]]
    assert val.targets.tolist() == [[1, 1, 1]]
    found = {(sample, label): mask for sample in range(4) for label, mask in train.marks.of(sample)}
    assert set(found) == {(0, 1), (0, 0), (1, 2), (3, 2)}  # of the crowd none
    assert torch.equal(found[0, 1], pixels(1, 1, 3, 3) | pixels(5, 2, 2, 2))
    assert torch.equal(found[0, 0], pixels(0, 0, 2, 4))
    assert torch.equal(found[1, 2], pixels(0, 0, 5, 5))
    assert torch.equal(found[3, 2], pixels(3, 1, 4, 4))
    assert read_coco_detection(coco.root).notes == {"train: iscrowd": 1, "train: image of no class": 1}
    assert sum(count for note, count in data.notes.items() if note.startswith("pictures of one colour")) == 5
    (batch,) = val.loader([[0]], data.pixels)
    assert batch.marks.label.tolist() == [1, 0, 2]
    assert batch.marks.mask.shape == (3, 32, 32)


def test_masks_guide_and_become_boxes(coco):
    data = read_coco_detection(coco.root)
    guided = choose_marked(data, MarksConfig("data", marked_classes=["dog"], mark_boxes=True), seed=0)
    marks = guided.splits["train"].marks
    assert (marks.samples, marks.labels) == ([0], [1])
    assert torch.equal(marks.masks[0], pixels(1, 1, 6, 3))


def test_outlines_too_small_for_a_pixel_mark_nothing(coco):
    coco.split("train", OBJECTS | {5: [(90, {"segmentation": [[1.1, 1.1, 1.2, 1.1, 1.2, 1.2]]})]})
    ((label, mask),) = read_coco_detection(coco.root).splits["train"].marks.of(1)
    assert label == 2
    assert not mask.any()


def test_the_year_may_be_2014(tmp_path):
    made = Coco(tmp_path, "2014")
    made.split("train", OBJECTS)
    made.split("val", OBJECTS)
    assert [split.root.name for split in read_coco_detection(tmp_path).splits.values()] == ["train2014", "val2014"]


def test_broken_layouts(coco):
    annotations = coco.root / "annotations"

    def fails(message):
        with pytest.raises(ValueError, match=f"^{message.replace('HOME', re.escape(str(coco.root)))}"):
            read_coco_detection(coco.root)

    (coco.root / "val2017" / "000000000003.jpg").unlink()
    fails(r"HOME/val2017/000000000003\.jpg does not exist, though instances_val2017\.json lists it$")
    coco.split("val", OBJECTS, [*CATEGORIES[:2], {"id": 90, "name": "brush"}])
    fails(r"HOME/annotations/instances_val2017\.json has other categories than instances_train2017$")
    coco.split("val", {3: [(18, {"bbox": [1, 1, 2, 2]})]})
    fails(r"class 'person' has no val image in HOME/annotations/instances_val2017\.json$")
    coco.split("val", {3: [(18, {"segmentation": []})]})
    fails(r"HOME/annotations/instances_val2017\.json: annotation 1 must have a segmentation or a bbox")
    coco.split("val", {3: [(2, {"bbox": [1, 1, 2, 2]})]})
    fails(r"HOME/.*: annotation 1 has image_id 3 and category_id 2; expected ids of the file's 'images' and")
    (annotations / "instances_val2017.json").write_text("{")
    fails(r"HOME/annotations/instances_val2017\.json is not JSON: .*; expected a COCO instances file; export it again$")
    (annotations / "instances_val2017.json").write_text('{"info": {}}')
    fails(r"HOME/annotations/instances_val2017\.json is not a COCO instances file: expected lists")
    (annotations / "instances_val2017.json").unlink()
    fails(r"HOME/annotations/instances_val2017\.json does not exist$")
    annotations.rename(coco.root / "other")
    fails(r"coco was not found in root HOME: there is no HOME/annotations/instances_train2017\.json$")


AIRPLANE = {"id": 5, "name": "airplane"}


def test_categories_without_a_training_image_are_left_out_and_noted(coco):
    boat = {"id": 9, "name": "boat"}
    val = {3: [(18, {"bbox": [1, 1, 2, 2]}), (1, {"bbox": [0, 0, 1, 1]}), (90, {"bbox": [4, 4, 2, 2]})]}
    coco.split("train", OBJECTS, [*CATEGORIES, AIRPLANE, boat])
    coco.split("val", val | {4: [(5, {"bbox": [0, 0, 1, 1]})]}, [*CATEGORIES, AIRPLANE, boat])
    data = read_coco_detection(coco.root)
    assert data.classes == ("person", "dog", "toothbrush")
    assert data.splits["train"].targets.tolist() == [[1, 1, 0], [0, 0, 1], [0, 0, 0], [1, 0, 1]]
    assert data.splits["val"].targets.tolist() == [[1, 1, 1], [0, 0, 0]]
    assert data.notes == {
        "train: category without an image, left out (airplane, boat)": 2,
        "train: iscrowd": 1,
        "train: image of no class": 1,
        "val: object of a category that is not used": 1,
        "val: image of no class": 1,
    }


def test_classes_may_be_chosen(coco):
    data = read_coco_detection(coco.root, classes=["toothbrush", "dog"])
    assert data.classes == ("dog", "toothbrush")  # by number
    assert data.splits["train"].targets.tolist() == [[1, 0], [0, 1], [0, 0], [0, 1]]
    train = data.splits["train"].marks
    assert [(sample, label) for sample in range(4) for label, _ in train.of(sample)] == [(0, 0), (1, 1), (3, 1)]
    assert data.notes["train: object of a category that is not used"] == 2
    coco.split("train", OBJECTS, [*CATEGORIES, AIRPLANE])
    coco.split("val", OBJECTS, [*CATEGORIES, AIRPLANE])
    for wrong, message in {
        "dgo": r"^classes names 'dgo', which is no category of .*instances_train2017\.json; did you mean 'dog'\?$",
        "airplane": r"^class 'airplane' has no train image in .*instances_train2017\.json; leave it out of classes$",
    }.items():
        with pytest.raises(ValueError, match=message):
            read_coco_detection(coco.root, classes=["dog", wrong])
    with pytest.raises(ValueError, match=r"must have two categories or more with images to train on; got 1$"):
        read_coco_detection(coco.root, classes=["dog"])


def test_an_image_of_another_size_than_its_entry_is_refused(coco):
    Image.new("RGB", (WIDTH, HEIGHT + 1)).save(coco.root / "train2017" / f"{5:012d}.jpg")
    with pytest.raises(ValueError, match=r"annotation 4 is for an image of .* mark the image at its own size"):
        read_coco_detection(coco.root).splits["train"].marks.of(1)


def test_images_without_sizes_and_ids_that_are_text(coco):
    for name in ("train", "val"):
        file = coco.root / "annotations" / f"instances_{name}2017.json"
        content = json.loads(file.read_text())
        for image in content["images"]:
            image["height"] = 0
            del image["width"]
            image["id"] = str(image["id"])
        file.write_text(json.dumps(content))
    data = read_coco_detection(coco.root)
    assert data.classes == ("person", "dog", "toothbrush")
    ((_, mask),) = data.splits["train"].marks.of(1)
    assert torch.equal(mask, pixels(0, 0, 5, 5))


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        (
            {"bbox": [0, 0, float("nan"), 1]},
            r"annotation 4 must have finite numbers of pixels in its segmentation and bb",
        ),
        ({"segmentation": [[0, 0, 1, 1, float("inf"), 1]]}, r"must have finite numbers of pixels"),
        ({"segmentation": [3]}, r"must have finite numbers of pixels"),
    ],
)
def test_regions_without_sense_are_refused_before_training(coco, rest, message):
    coco.split("train", OBJECTS | {5: [(90, rest)]})
    file = coco.root / "annotations" / "instances_train2017.json"
    with pytest.raises(ValueError, match=message):
        read_coco_detection(coco.root)
    content = json.loads(file.read_text())
    content["images"][0] |= {"height": 10**6, "width": 10**6}
    good = content["annotations"][-1] | {"segmentation": [], "bbox": [0, 0, 1, 1]}
    content["annotations"] = [*content["annotations"][:3], good]
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"must have a height and width of at most 268,435,456 pixels$"):
        read_coco_detection(coco.root)
