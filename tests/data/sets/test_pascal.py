import re

import numpy as np
import pytest
import torch
from PIL import Image

from looksharp.data.sets.pascal import read_pascal
from looksharp.marks.formats.voc import VOC_CLASSES

HEIGHT, WIDTH = 6, 8


def voc_palette():
    """The devkit's own colours (its VOClabelcolormap)."""
    colours = []
    for index in range(256):
        colour, rest = [0, 0, 0], index
        for bit in range(7, -1, -1):
            for channel in range(3):
                colour[channel] |= (rest >> channel & 1) << bit
            rest >>= 3
        colours += colour
    return colours


class Devkit:
    def __init__(self, root):
        self.home = root / "VOCdevkit" / "VOC2012"

    def write(self, name, text):
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def image(self, name):
        (self.home / "JPEGImages").mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((HEIGHT, WIDTH, 3), 99, np.uint8)).save(self.home / "JPEGImages" / f"{name}.jpg")

    def annotate(self, name, *objects):
        """Each object: (class, difficult)."""
        entries = "".join(
            f"<object><name>{label}</name><pose>Left</pose><truncated>0</truncated><difficult>{difficult}</difficult>"
            f"<bndbox><xmin>2</xmin><ymin>1</ymin><xmax>5</xmax><ymax>4</ymax></bndbox>"
            f"<part><name>head</name><bndbox><xmin>2</xmin><ymin>1</ymin><xmax>3</xmax><ymax>2</ymax></bndbox></part>"
            f"</object>"
            for label, difficult in objects
        )
        self.write(
            f"Annotations/{name}.xml",
            f"<annotation><folder>VOC2012</folder><filename>{name}.jpg</filename><size><width>{WIDTH}</width>"
            f"<height>{HEIGHT}</height><depth>3</depth></size><segmented>0</segmented>{entries}</annotation>",
        )

    def mask(self, name, **rows):
        """Each class fills a row; the rest is background, and the last row void."""
        indices = np.zeros((HEIGHT, WIDTH), np.uint8)
        indices[-1] = 255
        for label, row in rows.items():
            indices[row] = VOC_CLASSES.index(label) + 1
        picture = Image.fromarray(indices)
        picture.putpalette(voc_palette())
        (self.home / "SegmentationClass").mkdir(parents=True, exist_ok=True)
        picture.save(self.home / "SegmentationClass" / f"{name}.png")


@pytest.fixture
def kit(tmp_path):
    return Devkit(tmp_path)


@pytest.fixture
def main(kit):
    kit.write("ImageSets/Main/train.txt", "2007_000027\n2007_000032\n")
    kit.write("ImageSets/Main/val.txt", "2008_000002\n\n2008_000003\n")
    kit.write("ImageSets/Main/dog_train.txt", "2007_000027 -1\n2007_000032  1\n")
    kit.write("ImageSets/Segmentation/train.txt", "2007_000032\n")
    kit.write("ImageSets/Segmentation/val.txt", "2008_000003\n")
    for name in ("2007_000027", "2007_000032", "2008_000002", "2008_000003", "2009_000001"):
        kit.image(name)
    kit.annotate("2007_000027", ("person", 0), ("person", 0))
    kit.annotate("2007_000032", ("dog", 0), ("tvmonitor", 1))
    kit.annotate("2008_000002", ("aeroplane", 1))
    kit.annotate("2008_000003", ("cat", 0), ("unicorn", 0))
    kit.annotate("2009_000001", ("cat", 0))  # in no set: the test images of the devkit
    return kit


def named(split):
    return [[VOC_CLASSES[index] for index in row.nonzero().flatten()] for row in split.targets]


def found(split):
    return {
        (split.paths[image], VOC_CLASSES[label]): mask.any(1).nonzero().flatten().tolist()
        for image in split.marks.images
        for label, mask in split.marks.of(image)
    }


def test_the_main_sets(main):
    data = read_pascal(main.home)
    assert data.classes == VOC_CLASSES
    assert data.multilabel
    assert list(data.splits) == ["train", "val"]
    train, val = data.splits.values()
    assert train.paths == ["JPEGImages/2007_000027.jpg", "JPEGImages/2007_000032.jpg"]
    assert val.paths == ["JPEGImages/2008_000002.jpg", "JPEGImages/2008_000003.jpg"]
    assert train.targets.shape == (2, 20)
    assert set(train.targets.unique().tolist()) == {0.0, 1.0}
    assert named(train) == [["person"], ["dog", "tvmonitor"]]  # difficult objects count
    assert named(val) == [["aeroplane"], ["cat"]]
    assert train.marks is None
    assert train.image(1).shape == (3, HEIGHT, WIDTH)
    assert (data.pixels.size, data.augment) == ((224, 224), "resized_crop_flip")
    assert read_pascal(main.home).resized(64).pixels.size == (64, 64)


def test_the_devkit_is_found_from_above(main):
    for root in (main.home, main.home.parent, main.home.parent.parent):
        assert read_pascal(root).name == str(main.home)


def test_pairs_are_class_masks_and_no_boxes(main):
    main.mask("2007_000032", dog=1, tvmonitor=3)
    main.mask("2008_000003", cat=0, person=2)
    data = read_pascal(main.home)
    assert found(data.splits["train"]) == {
        ("JPEGImages/2007_000032.jpg", "dog"): [1],
        ("JPEGImages/2007_000032.jpg", "tvmonitor"): [3],
    }
    assert found(data.splits["val"]) == {
        ("JPEGImages/2008_000003.jpg", "cat"): [0],
        ("JPEGImages/2008_000003.jpg", "person"): [2],
    }
    assert named(data.splits["val"]) == [["aeroplane"], ["cat"]]  # the annotation's
    assert data.notes == {}


def test_segmentation_sets_with_masks_alone(kit):
    kit.write("ImageSets/Segmentation/train.txt", "a\nb\n")
    kit.write("ImageSets/Segmentation/val.txt", "c\n")
    for name in "abc":
        kit.image(name)
    kit.mask("a", cow=0)
    kit.mask("b", sheep=2, cow=4)
    kit.mask("c")  # background and void
    data = read_pascal(kit.home)
    assert named(data.splits["train"]) == [["cow"], ["cow", "sheep"]]
    assert named(data.splits["val"]) == [[]]
    assert found(data.splits["train"]) == {
        ("JPEGImages/a.jpg", "cow"): [0],
        ("JPEGImages/b.jpg", "cow"): [4],
        ("JPEGImages/b.jpg", "sheep"): [2],
    }
    assert len(data.splits["val"].marks) == 0
    assert data.notes == {"empty mask": 1}


def test_batches_carry_the_masks(main):
    main.mask("2007_000032", dog=1, tvmonitor=3)
    data = read_pascal(main.home).resized(32)
    (batch,) = data.splits["train"].loader([[1, 0]], data.pixels)
    assert batch.target.nonzero().tolist() == [[0, 11], [0, 19], [1, 14]]
    assert batch.marks.sample.tolist() == [0, 0]
    assert batch.marks.label.tolist() == [11, 19]
    assert batch.marks.mask.shape == (2, 32, 32)
    rows = [mask.any(1).nonzero().flatten().float().mean() for mask in batch.marks.mask]
    assert torch.tensor(rows).sub(torch.tensor([1.5, 3.5]) * 32 / HEIGHT).abs().max() < 2


def fails(root, message):
    with pytest.raises(ValueError, match=f"^{message.replace('HOME', re.escape(str(root)))}"):
        read_pascal(root)


def test_there_must_be_a_devkit(tmp_path):
    fails(tmp_path, r"HOME holds no VOC devkit: no VOCdevkit/VOC\* with Annotations or SegmentationClass$")


def test_the_sets_must_be_listed(main):
    for kind in ("Main", "Segmentation"):
        (main.home / "ImageSets" / kind / "val.txt").unlink()
    fails(main.home, r"HOME/ImageSets has neither Main/val\.txt nor Segmentation/val\.txt$")


def test_listed_images_must_exist(main):
    (main.home / "JPEGImages" / "2008_000002.jpg").unlink()
    fails(main.home, r"HOME/JPEGImages/2008_000002\.jpg does not exist, though ImageSets lists it$")


def test_images_must_have_labels(main):
    (main.home / "Annotations" / "2008_000002.xml").unlink()
    fails(
        main.home,
        r"HOME/JPEGImages/2008_000002\.jpg has neither 2008_000002\.xml in Annotations nor a class mask$",
    )


def test_annotations_must_be_xml(main):
    main.write("Annotations/2008_000002.xml", "<annotation><object>")
    fails(main.home, r"HOME/Annotations/2008_000002\.xml is not XML: [^\n]+; expected a VOC annotation$")


def test_masks_must_be_of_their_images_size(main):
    main.mask("2007_000032", dog=1)
    Image.new("P", (WIDTH + 1, HEIGHT), 3).save(main.home / "SegmentationClass" / "2007_000032.png")
    fails(main.home, r"HOME/SegmentationClass/2007_000032\.png is for an image of 6x9 pixels")
