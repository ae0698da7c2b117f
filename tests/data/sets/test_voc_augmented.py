import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from looksharp.data.sets.pascal import read_pascal
from looksharp.marks.formats.voc import VOC_CLASSES
from looksharp.marks.regions import MadeMasks

SIZE = (6, 8)
COW, DOG, PERSON = (VOC_CLASSES.index(name) + 1 for name in ("cow", "dog", "person"))


def indices(**rows):
    """Each class fills a row."""
    pixels = np.zeros(SIZE, np.uint8)
    for name, row in rows.items():
        pixels[row] = {"cow": COW, "dog": DOG, "person": PERSON, "void": 255}[name]
    return pixels


def write_png(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_sbd(folder, name, pixels):
    """As SBD has them: GTcls with Boundaries, Segmentation and CategoriesPresent."""
    (folder / "cls").mkdir(parents=True, exist_ok=True)
    present = np.array([[index] for index in np.unique(pixels) if index], np.uint8)
    boundaries = np.empty((20, 1), dtype=object)
    boundaries[:] = [[np.zeros((1, 1))]]
    content = {"Boundaries": boundaries, "Segmentation": pixels, "CategoriesPresent": present}
    savemat(folder / "cls" / f"{name}.mat", {"GTcls": content})


@pytest.fixture
def home(tmp_path, draw):
    """Images a and b of segmentation's training set, c and d that SBD alone marks, v and w to validate."""
    home = tmp_path / "VOCdevkit" / "VOC2012"
    for name in "abcdvw":
        draw(home / "JPEGImages" / f"{name}.jpg", SIZE)
    for kind, names in {
        "Main/train": "abc",
        "Main/val": "vw",
        "Segmentation/train": "ab",
        "Segmentation/val": "vw",
    }.items():
        path = home / "ImageSets" / f"{kind}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{name}\n" for name in names))
    masks = {"a": indices(cow=1, void=2), "b": indices(dog=0), "v": indices(cow=3), "w": indices(person=5)}
    for name, pixels in masks.items():
        write_png(home / "SegmentationClass" / f"{name}.png", pixels)
    (home / "Annotations").mkdir()
    for name, labels in {"a": ["cow", "person"], "c": ["dog"]}.items():
        objects = "".join(f"<object><name>{label}</name><difficult>1</difficult></object>" for label in labels)
        (home / "Annotations" / f"{name}.xml").write_text(f"<annotation>{objects}</annotation>")
    return home


SBD = {"b": indices(cow=4), "c": indices(dog=2, person=3), "d": indices(cow=0), "v": indices(dog=1)}


@pytest.fixture(params=["png", "mat", "torchvision's mat"])
def augmented(home, request):
    for name, pixels in SBD.items():
        if request.param == "png":
            write_png(home / "SegmentationClassAug" / f"{name}.png", pixels)
        else:
            above = {"mat": home / "benchmark_RELEASE" / "dataset", "torchvision's mat": home.parent.parent / "sbd"}
            write_sbd(above[request.param], name, pixels)
    return home


def found(split):
    return {
        (split.paths[image].split("/")[1][0], VOC_CLASSES[label]): mask.any(1).nonzero().flatten().tolist()
        for image in split.marks.images
        for label, mask in split.marks.of(image)
    }


def named(split):
    return [[VOC_CLASSES[index] for index in row.nonzero().flatten()] for row in split.targets]


def test_the_augmented_set(augmented):
    data = read_pascal(augmented, set="augmented").resized(32)
    train, val = data.splits.values()
    assert train.paths == [f"JPEGImages/{name}.jpg" for name in "abcd"]
    assert val.paths == [f"JPEGImages/{name}.jpg" for name in "vw"]
    assert isinstance(train.marks.masks, MadeMasks)
    # VOC's own masks where there are any; the void belongs to no class
    assert found(train) == {
        ("a", "cow"): [1],
        ("b", "dog"): [0],
        ("c", "dog"): [2],
        ("c", "person"): [3],
        ("d", "cow"): [0],
    }
    assert found(val) == {("v", "cow"): [3], ("w", "person"): [5]}
    assert named(train) == [["cow", "person"], ["dog"], ["dog"], ["cow"]]  # the annotation's, where there is one
    assert named(val) == [["cow"], ["person"]]
    (batch,) = train.loader([[2, 0]], data.pixels)
    assert batch.marks.sample.tolist() == [0, 0, 1]
    assert batch.marks.mask.shape == (3, 32, 32)
    assert torch.equal(batch.marks.label, torch.tensor([DOG, PERSON, COW]) - 1)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("Segmentation/trainaug.txt", "{0}"),
        ("Segmentation/train_aug.txt", "{0}"),
        ("SegmentationAug/train_aug.txt", "/JPEGImages/{0}.jpg /SegmentationClassAug/{0}.png"),
    ],
)
def test_a_list_of_its_own_is_followed(augmented, name, line):
    path = augmented / "ImageSets" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(line.format(image) + "\n" for image in "da"))
    train = read_pascal(augmented, set="augmented").splits["train"]
    assert train.paths == ["JPEGImages/d.jpg", "JPEGImages/a.jpg"]
    path.write_text(line.format("w"))
    with pytest.raises(ValueError, match=r"train_?aug\.txt lists w, which is an image of Segmentation/val\.txt$"):
        read_pascal(augmented, set="augmented")


def test_the_sets_by_name(home):
    (home / "JPEGImages" / "c.jpg").unlink()
    names = {kind: read_pascal(home, set=kind) for kind in ("segmentation",)}
    assert names["segmentation"].splits["train"].paths == ["JPEGImages/a.jpg", "JPEGImages/b.jpg"]
    for kind in ("main", None):
        with pytest.raises(ValueError, match=r"/JPEGImages/c\.jpg does not exist, though ImageSets lists it$"):
            read_pascal(home, set=kind)
    (home / "ImageSets" / "Main" / "val.txt").unlink()
    with pytest.raises(ValueError, match=r"^\S+/ImageSets/Main/val\.txt does not exist$"):
        read_pascal(home, set="main")
    with pytest.raises(ValueError, match=r"^set must be one of main, segmentation, augmented; got 'all'$"):
        read_pascal(home, set="all")


def fails(home, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        read_pascal(home, set="augmented")


def test_broken_layouts_are_named(home):
    fails(home, r"voc.set 'augmented' needs SBD's masks: \S+/SegmentationClassAug, or \S+ in \S+ or above it")
    folder = home / "SegmentationClassAug"
    write_png(folder / "e.png", indices(cow=1))
    fails(home, r"\S+/JPEGImages/e\.jpg does not exist, though SBD or ImageSets lists it")
    (folder / "e.png").unlink()
    (home / "ImageSets" / "Segmentation" / "trainaug.txt").write_text("c\n")
    fails(home, r"image c of \S+ has a class mask in none of SegmentationClass, SegmentationClassAug, SBD")
    write_png(folder / "c.png", np.full(SIZE, 21, np.uint8))
    fails(home, r"\S+/c\.png must hold class indices, 1 to 20; got index 21")
    write_png(folder / "c.png", np.zeros((*SIZE, 3), np.uint8))
    fails(home, r"\S+/c\.png must hold class indices, as a grey or palette image; got pixels of mode RGBA")
    (folder / "c.png").unlink()
    sbd = home / "benchmark_RELEASE" / "dataset" / "cls"
    sbd.mkdir(parents=True)
    savemat(sbd / "c.mat", {"GTcls": {"Boundaries": 1}})
    fails(home, r"\S+/c\.mat must have GTcls\.Segmentation, as SBD's files in cls have")
    savemat(sbd / "c.mat", {"GTinst": 1})
    fails(home, r"\S+/c\.mat must have the variable 'GTcls'")


def test_masks_must_be_of_their_images_size(home):
    write_sbd(home / "benchmark_RELEASE" / "dataset", "c", np.full((5, 8), DOG, np.uint8))
    fails(home, r"\S+/c\.mat has 5x8 pixels \(height x width\), but \S+/c\.jpg has 6x8")
