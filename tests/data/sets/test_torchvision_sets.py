import hashlib
import pickle
import re
import struct
from collections import Counter

import numpy as np
import pytest
import torch
from torchvision import datasets

from looksharp.data.hold_out import hold_out
from looksharp.data.sets.torchvision_sets import read_torchvision

# numpy 2.4.0 warns of the published files' own form
pytestmark = pytest.mark.filterwarnings(r"ignore:dtype\(\). align should be passed as:Warning")


def python2_pickle(content):
    """As numpy 1 wrote it from Python 2, which is how CIFAR is published."""
    written = pickle.dumps(content, protocol=2)
    return written.replace(b"numpy._core.multiarray", b"numpy.core.multiarray").replace(b"\x89\x88\x87", b"K\0K\1\x87")


def cifar_pixels(count, start):
    """(N, 3072) as CIFAR has them: all of red, then green, then blue, row by row."""
    rng = np.random.default_rng(start)
    pixels = rng.integers(0, 256, (count, 3, 32, 32)).astype(np.uint8)
    pixels[:, :, 0, 0] = start + np.arange(count)[:, None]  # tells each image
    return pixels


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    """Five batches of ten images and a test batch of ten, each class once a batch; integrity by their own sums."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    images = {}
    lists = {"train_list": [], "test_list": []}
    for number, name in enumerate([f"data_batch_{n}" for n in range(1, 6)] + ["test_batch"]):
        pixels = cifar_pixels(10, 10 * number)
        labels = [(3 * n + number) % 10 for n in range(10)]
        images[name] = (pixels, labels)
        content = python2_pickle(
            {
                "batch_label": name,
                "labels": labels,
                "data": pixels.reshape(10, 3072),
                "filenames": [f"{n}.png" for n in range(10)],
            }
        )
        (folder / name).write_bytes(content)
        lists["test_list" if name == "test_batch" else "train_list"].append([name, hashlib.md5(content).hexdigest()])
    meta = python2_pickle({"label_names": list("abcdefghij"), "num_cases_per_batch": 10, "num_vis": 3072})
    (folder / "batches.meta").write_bytes(meta)
    for name, value in lists.items():
        monkeypatch.setattr(datasets.CIFAR10, name, value)
    monkeypatch.setattr(datasets.CIFAR10, "meta", datasets.CIFAR10.meta | {"md5": hashlib.md5(meta).hexdigest()})
    return tmp_path, images


@pytest.fixture
def cifar100(tmp_path, monkeypatch):
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    sums = {}
    for name, count in {"train": 200, "test": 100}.items():
        content = python2_pickle(
            {
                "filenames": [f"{n}.png" for n in range(count)],
                "batch_label": name,
                "fine_labels": [n % 100 for n in range(count)],
                "coarse_labels": [n % 20 for n in range(count)],
                "data": cifar_pixels(count, 0).reshape(count, 3072),
            }
        )
        (folder / name).write_bytes(content)
        sums[name] = hashlib.md5(content).hexdigest()
    fine = [f"fine {n}" for n in range(100)]
    meta = python2_pickle({"fine_label_names": fine, "coarse_label_names": [f"coarse {n}" for n in range(20)]})
    (folder / "meta").write_bytes(meta)
    monkeypatch.setattr(datasets.CIFAR100, "train_list", [["train", sums["train"]]])
    monkeypatch.setattr(datasets.CIFAR100, "test_list", [["test", sums["test"]]])
    monkeypatch.setattr(datasets.CIFAR100, "meta", datasets.CIFAR100.meta | {"md5": hashlib.md5(meta).hexdigest()})
    return tmp_path


def write_idx(path, values):
    """The format of yann.lecun.com/exdb/mnist: two zeros, 8 for bytes, dimensions, sizes in big-endian, values."""
    header = struct.pack(">BBBB", 0, 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + values.astype(np.uint8).tobytes())


@pytest.fixture
def mnist(tmp_path):
    images = {}
    for number, (name, count) in enumerate({"train": 40, "t10k": 12}.items()):
        pixels = np.random.default_rng(number).integers(0, 256, (count, 28, 28)).astype(np.uint8)
        pixels[:, 0, 0] = np.arange(count) + 100 * number
        labels = np.arange(count) % 10
        write_idx(tmp_path / "MNIST" / "raw" / f"{name}-images-idx3-ubyte", pixels)
        write_idx(tmp_path / "MNIST" / "raw" / f"{name}-labels-idx1-ubyte", labels)
        images[name] = (pixels, labels)
    return tmp_path, images


def check(split, pixels, labels, corner=0):
    """Each image is the one that its first pixel names, with its label."""
    for image, label in zip(split.images, split.targets, strict=True):
        number = int(image[0, corner, corner])
        assert torch.equal(image, torch.from_numpy(pixels[number]))
        assert label == labels[number]


def test_cifar10(cifar10):
    root, images = cifar10
    data = hold_out(read_torchvision("cifar10", root), 0.2, 1)
    assert (data.name, data.classes) == ("cifar10", tuple("abcdefghij"))
    assert list(data.splits) == ["train", "val", "test"]
    assert (data.pixels.size, data.augment) == ((32, 32), "crop_flip")
    pixels = np.concatenate([images[f"data_batch_{n}"][0] for n in range(1, 6)])
    labels = [label for n in range(1, 6) for label in images[f"data_batch_{n}"][1]]
    train, val, test = data.splits.values()
    for split, per_class in ((train, 4), (val, 1)):
        check(split, pixels, labels)
        assert Counter(split.targets.tolist()) == dict.fromkeys(range(10), per_class)
    shown = [int(image[0, 0, 0]) for split in (train, val) for image in split.images]
    assert sorted(shown) == list(range(50))
    assert torch.equal(test.images, torch.from_numpy(images["test_batch"][0]))
    assert test.targets.tolist() == images["test_batch"][1]
    same, other = (hold_out(read_torchvision("cifar10", root), 0.2, seed).splits["val"].images for seed in (1, 2))
    assert torch.equal(val.images, same)
    assert not torch.equal(val.images, other)
    assert test.images.is_contiguous()


def test_cifar10_without_a_share_validates_on_the_test_split(cifar10):
    root, _ = cifar10
    data = hold_out(read_torchvision("cifar10", root), 0)
    assert list(data.splits) == ["train", "val", "test"]
    assert data.splits["val"] is data.splits["test"]
    assert data.splits["train"].images[:, 0, 0, 0].tolist() == list(range(50))


def test_cifar100_has_its_fine_classes(cifar100):
    data = hold_out(read_torchvision("cifar100", cifar100), 0.5)
    assert data.classes == tuple(f"fine {n}" for n in range(100))
    train, val, test = data.splits.values()
    pixels = cifar_pixels(200, 0)
    for split in (train, val):
        check(split, pixels, [n % 100 for n in range(200)])
        assert sorted(split.targets.tolist()) == list(range(100))
    assert test.targets.tolist() == list(range(100))
    assert torch.equal(test.images, torch.from_numpy(cifar_pixels(100, 0)))


def test_mnist_is_padded_and_tripled(mnist):
    root, images = mnist
    data = hold_out(read_torchvision("mnist", root), 0.25)
    assert [name[0] for name in data.classes] == list("0123456789")
    assert (data.pixels.size, data.augment) == ((32, 32), "crop")  # a mirrored digit is none
    train, val, test = data.splits.values()

    def padded(name):
        wide = np.zeros((len(images[name][0]), 3, 32, 32), np.uint8)
        wide[:, :, 2:30, 2:30] = images[name][0][:, None]
        return wide

    for split, per_class in ((train, 3), (val, 1)):
        check(split, padded("train"), images["train"][1], corner=2)
        assert Counter(split.targets.tolist()) == dict.fromkeys(range(10), per_class)
    assert torch.equal(test.images, torch.from_numpy(padded("t10k")))
    assert test.targets.tolist() == images["t10k"][1].tolist()
    assert test.targets.dtype == torch.int64


def fails(name, root, reason=".+"):
    with pytest.raises(ValueError, match=rf"^{name} was not found whole in {re.escape(str(root))}: {reason}\Z"):
        hold_out(read_torchvision(name, root))


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "mnist"])
def test_sets_must_be_there(tmp_path, name):
    fails(name, tmp_path, r"Dataset not found.*")
    fails(name, tmp_path / "no", r"Dataset not found.*")


@pytest.mark.parametrize("broken", ["data_batch_3", "test_batch", "batches.meta"])
def test_cifar10_must_be_whole(cifar10, broken):
    root, _ = cifar10
    path = root / "cifar-10-batches-py" / broken
    path.write_bytes(path.read_bytes()[:-9])
    fails("cifar10", root, r"Dataset .*not found or corrupted.*")
    path.unlink()
    fails("cifar10", root, r"Dataset .*not found or corrupted.*")


@pytest.mark.parametrize("kept", [0, 3, 9, 20, -1])
@pytest.mark.parametrize("file", ["train-images-idx3-ubyte", "t10k-images-idx3-ubyte", "train-labels-idx1-ubyte"])
def test_mnist_must_be_whole(mnist, file, kept):
    root, _ = mnist
    path = root / "MNIST" / "raw" / file
    path.write_bytes(path.read_bytes()[:kept])
    fails("mnist", root)


def test_mnist_must_be_mnist(mnist):
    root, _ = mnist
    (root / "MNIST" / "raw" / "train-images-idx3-ubyte").write_bytes(b"<html>Not found</html>")
    fails("mnist", root)
    (root / "MNIST" / "raw" / "train-images-idx3-ubyte").unlink()
    fails("mnist", root, "Dataset not found.*")
