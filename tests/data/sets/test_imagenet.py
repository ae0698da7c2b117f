import re
import shutil
import tarfile

import numpy as np
import pytest
import torch
from scipy.io import savemat
from torchvision.datasets import ImageNet
from torchvision.datasets.imagenet import load_meta_file

from looksharp.data.sets.imagenet import read_imagenet

IDS = ["n01440764", "n02012849", "n03126707", "n03710721"]
# ILSVRC2012_ID, WNID, words, number of children: as in meta.mat, where groups of classes follow the classes
SYNSETS = [
    (1, "n02012849", "crane", 0),
    (2, "n01440764", "tench, Tinca tinca", 0),
    (3, "n03710721", "maillot, tank suit", 0),
    (4, "n03126707", "crane", 0),
    (5, "n00001740", "entity", 4),
]
TRUTH = [2, 2, 4, 1, 3]  # of the validation images 1 to 5, by ILSVRC2012_ID
VAL = [IDS[0], IDS[0], IDS[2], IDS[1], IDS[3]]
NAMES = ("tench", "crane (n02012849)", "crane (n03126707)", "maillot")


@pytest.fixture
def root(tmp_path, draw):
    """Two training images of each class, and the five validation images in one folder."""
    for wnid in IDS:
        for number in (18, 7):
            draw(tmp_path / "train" / wnid / f"{wnid}_{number}.JPEG")
    for number in range(1, 6):
        draw(tmp_path / "val" / f"ILSVRC2012_val_{number:08}.JPEG")
    return tmp_path


def write_devkit(root):
    fields = [
        ("ILSVRC2012_ID", object), ("WNID", object), ("words", object), ("gloss", object), ("num_children", object),
        ("children", object), ("wordnet_height", object), ("num_train_images", object),
    ]  # fmt: skip
    rows = [(n, wnid, words, "gloss", below, np.arange(below), 0, 2) for n, wnid, words, below in SYNSETS]
    folder = root / "ILSVRC2012_devkit_t12" / "data"
    folder.mkdir(parents=True)
    savemat(folder / "meta.mat", {"synsets": np.array(rows, dtype=fields)[:, None]})
    (folder / "ILSVRC2012_validation_ground_truth.txt").write_text("".join(f"{number}\n" for number in TRUTH))
    return folder


def archive(root):
    with tarfile.open(root / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as tar:
        tar.add(root / "ILSVRC2012_devkit_t12", "ILSVRC2012_devkit_t12")
    shutil.rmtree(root / "ILSVRC2012_devkit_t12")


def write_meta(root):
    """As torchvision writes it from the devkit."""
    names = {wnid: tuple(words.split(", ")) for _, wnid, words, below in SYNSETS if not below}
    torch.save((names, VAL), root / "meta.bin")


def check(data):
    train, val = data.splits.values()
    assert list(data.splits) == ["train", "val"]
    assert train.paths == [f"train/{wnid}/{wnid}_{number}.JPEG" for wnid in IDS for number in (18, 7)]
    assert train.targets.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    shown = {path.rpartition("/")[2]: IDS[label] for path, label in zip(val.paths, val.targets.tolist(), strict=True)}
    assert shown == {f"ILSVRC2012_val_{number:08}.JPEG": wnid for number, wnid in enumerate(VAL, 1)}
    assert val.image(0).shape == (3, 6, 8)
    assert data.pixels.size == (224, 224)


@pytest.mark.parametrize("form", ["folder", "archive", "meta.bin"])
def test_validation_images_as_they_come(root, form):
    write_meta(root) if form == "meta.bin" else write_devkit(root)
    if form == "archive":
        archive(root)
    data = read_imagenet(root)
    check(data)
    assert data.classes == NAMES


def into_folders(root):
    for number, wnid in enumerate(VAL, 1):
        (root / "val" / wnid).mkdir(exist_ok=True)
        name = f"ILSVRC2012_val_{number:08}.JPEG"
        (root / "val" / name).rename(root / "val" / wnid / name)


def test_validation_images_in_folders_need_no_devkit(root):
    into_folders(root)
    data = read_imagenet(root)
    check(data)
    assert data.classes == tuple(IDS)
    write_devkit(root)
    data = read_imagenet(root).resized(64)
    assert data.classes == NAMES
    assert data.pixels.size == (64, 64)


def test_it_agrees_with_torchvision(root):
    into_folders(root)
    write_meta(root)
    assert load_meta_file(root)[1] == VAL
    data = read_imagenet(root)
    for name, split in data.splits.items():
        theirs = ImageNet(root, name)
        assert [(str(root / path), label) for path, label in zip(split.paths, split.targets.tolist(), strict=True)] == (
            sorted(theirs.samples, key=lambda sample: (sample[1], sample[0]))
        )
        assert [names[0] for names in theirs.classes] == [name.partition(" (")[0] for name in data.classes]


def test_odd_files_are_read(root, draw):
    write_devkit(root)
    draw(root / "train" / IDS[0] / f"{IDS[0]}_18.JPEG", mode="CMYK", format="JPEG")
    draw(root / "train" / IDS[0] / f"{IDS[0]}_7.JPEG", mode="L", format="JPEG")
    draw(root / "train" / IDS[1] / f"{IDS[1]}_18.JPEG", format="PNG")  # as n02105855_2933.JPEG is
    train = read_imagenet(root).splits["train"]
    for place in range(3):
        image = train.image(place)
        assert image.shape == (3, 6, 8)
        assert (image.int() - 99).abs().max() <= 2


def fails(root, message):
    with pytest.raises(ValueError, match=f"^{message.replace('ROOT', re.escape(str(root)))}$"):
        read_imagenet(root)


def test_folders_must_be_there(root):
    shutil.rmtree(root / "val")
    fails(root, r"imagenet was not found whole in root ROOT: there is no folder ROOT/val")
    shutil.rmtree(root / "train")
    fails(root, r"imagenet was not found whole in root ROOT: there is no folder ROOT/train")


def test_classes_must_have_images(root):
    into_folders(root)
    for path in (root / "val" / IDS[1]).iterdir():
        path.unlink()
    fails(root, rf"class folder ROOT/val/{IDS[1]} holds no image")
    (root / "val" / IDS[1]).rmdir()
    fails(root, rf"class folder ROOT/val/{IDS[1]} does not exist")
    shutil.rmtree(root / "train" / IDS[3])
    fails(root, rf"ROOT/val has a class that train lacks: '{IDS[3]}'")
    for wnid in IDS[1:3]:
        shutil.rmtree(root / "train" / wnid)
    fails(root, r"ROOT/train must hold a folder per class, such as n01440764; found 1")


def test_validation_images_must_fit_the_devkit(root, draw):
    fails(root, r"ROOT/val has no folder per class, and ROOT no ILSVRC2012_devkit_t12 to tell its images' classes")
    folder = write_devkit(root)
    (root / "val" / "ILSVRC2012_val_00000003.JPEG").unlink()
    message = r"ROOT/val has 4 images of the 5 in ROOT/ILSVRC2012_devkit_t12: there is no ILSVRC2012_val_00000003\.JPEG"
    fails(root, message)
    draw(root / "val" / "ILSVRC2012_val_00000003.JPEG")
    shutil.rmtree(root / "train" / IDS[3])
    fails(root, rf"ROOT/val has a class that train lacks: '{IDS[3]}', by ROOT/ILSVRC2012_devkit_t12")
    draw(root / "train" / "n99999999" / "1.JPEG")
    (folder / "ILSVRC2012_validation_ground_truth.txt").write_text("2\n2\n4\n1\n2\n")
    fails(root, r"ROOT/\S+ has no class 'n99999999', though there is a folder of that name in train")


def test_a_damaged_devkit_is_named(root):
    folder = write_devkit(root)
    truth = folder / "ILSVRC2012_validation_ground_truth.txt"
    truth.write_text("2\n2\n4\n1\n9\n")
    fails(root, r"ROOT/ILSVRC2012_devkit_t12 is no devkit of ILSVRC2012: 9")
    truth.unlink()
    fails(root, rf"{re.escape(str(truth))} does not exist")
    archive(root)
    fails(root, r"ROOT/ILSVRC2012_devkit_t12\.tar\.gz cannot be read as a devkit: .*ground_truth\.txt' not found.*")
    (root / "ILSVRC2012_devkit_t12.tar.gz").write_bytes(b"<html>")
    fails(root, r"ROOT/ILSVRC2012_devkit_t12\.tar\.gz cannot be read as a devkit: [^\n]+")
    (root / "meta.bin").write_bytes(b"nothing")
    fails(root, r"ROOT/meta\.bin cannot be read: [^\n]+; remove it, and keep the devkit")
