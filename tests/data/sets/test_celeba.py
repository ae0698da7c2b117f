import hashlib
import re

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import CelebA

from looksharp.data.build import DataConfig, build_data
from looksharp.data.sets.celeba import read_celeba

NAMES = [f"Attribute_{n}" for n in range(40)]
PARTS = [0, 0, 0, 1, 1, 2, 2]
# Each attribute is there in some image of every split and not in another.
SHOWN = np.array([[(image + name) % 2 for name in range(40)] for image in range(7)])
SHOWN[2] = SHOWN[0]


class Celeba:
    def __init__(self, root, monkeypatch):
        self.home, self.monkeypatch = root / "celeba", monkeypatch
        (self.home / "img_align_celeba").mkdir(parents=True)
        self.files = [f"{n + 1:06d}.jpg" for n in range(7)]
        for name in self.files:
            Image.fromarray(np.full((11, 9, 3), 50, np.uint8)).save(self.home / "img_align_celeba" / name)
        self.write("list_eval_partition.txt", "", [[part] for part in PARTS])
        self.write("identity_CelebA.txt", "", [[n] for n in range(7)])
        self.write("list_bbox_celeba.txt", "7\nimage_id x_1 y_1 width height\n", [[1, 2, 3, 4]] * 7)
        self.write("list_landmarks_align_celeba.txt", "7\n" + "x y " * 5 + "\n", [[5] * 10] * 7)
        self.write_shown(SHOWN)

    def write_shown(self, shown):
        # As published: -1 and 1, padded by spaces; the line of names ends in one.
        self.write("list_attr_celeba.txt", "7\n" + " ".join(NAMES) + " \n", (2 * shown - 1).tolist())

    def write(self, file, header, rows):
        lines = [f"{name} " + " ".join(f"{v:2d}" for v in row) for name, row in zip(self.files, rows, strict=True)]
        self.text(file, header + "\n".join(lines) + "\n")

    def text(self, file, text):
        """A table, whose published sum is this one's."""
        (self.home / file).write_text(text)
        digest = hashlib.md5(text.encode()).hexdigest()
        known = [(i, digest if name == file else md5, name) for i, md5, name in CelebA.file_list]
        self.monkeypatch.setattr(CelebA, "file_list", known)


@pytest.fixture
def celeba(tmp_path, monkeypatch):
    return Celeba(tmp_path, monkeypatch)


def test_published_splits_and_attributes(celeba, tmp_path):
    data = build_data(DataConfig("celeba", tmp_path, image_size=32))
    assert data.classes == tuple(NAMES)
    assert data.multilabel
    for (name, split), places in zip(data.splits.items(), ([0, 1, 2], [3, 4], [5, 6]), strict=True):
        assert split.paths == [celeba.files[place] for place in places], name
        assert torch.equal(split.targets, torch.tensor(SHOWN[places], dtype=torch.float32))
    assert list(data.splits) == ["train", "val", "test"]
    assert data.splits["train"].image(0).shape == (3, 11, 9)
    assert read_celeba(tmp_path).pixels.size == (224, 224)


def test_without_a_share_validation_images_are_trained_on(celeba, tmp_path):
    data = read_celeba(tmp_path, train_on_val=True)
    assert data.splits["train"].paths == celeba.files[:5]
    assert torch.equal(data.splits["train"].targets, torch.tensor(SHOWN[:5], dtype=torch.float32))
    assert data.splits["val"].paths == data.splits["test"].paths == celeba.files[5:]


def test_broken_layouts(celeba, tmp_path):
    def fails(message):
        with pytest.raises(ValueError, match=f"^{message.replace('HOME', re.escape(str(celeba.home)))}"):
            read_celeba(tmp_path)

    bare = SHOWN.copy()
    bare[[5, 6], 7] = 0
    celeba.write_shown(bare)
    fails("class 'Attribute_7' has no test image in HOME$")
    celeba.write("list_eval_partition.txt", "", [[min(part, 1)] for part in PARTS])
    fails(r"HOME/list_eval_partition\.txt lists no test image$")
    (celeba.home / "img_align_celeba" / "000004.jpg").unlink()
    fails(r"HOME/img_align_celeba/000004\.jpg does not exist, though list_eval_partition\.txt lists it$")
    (celeba.home / "list_bbox_celeba.txt").write_text("7\n")
    fails(r"HOME/list_bbox_celeba\.txt is damaged$")
    celeba.text("list_bbox_celeba.txt", "7\n")
    fails("celeba was not found whole in HOME: ")
    (celeba.home / "list_attr_celeba.txt").unlink()
    fails(r"HOME/list_attr_celeba\.txt does not exist$")
    (celeba.home / "img_align_celeba").rename(celeba.home / "img")
    fails(r"HOME/img_align_celeba does not exist; unpack img_align_celeba\.zip there$")
