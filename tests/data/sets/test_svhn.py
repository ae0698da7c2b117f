import hashlib
from collections import Counter

import numpy as np
import pytest
import torch
from scipy.io import savemat
from torchvision.datasets import SVHN

from looksharp.data.hold_out import hold_out
from looksharp.data.sets.svhn import read_svhn


@pytest.fixture
def svhn(tmp_path, monkeypatch):
    """(root, images by split): X (32, 32, 3, N) and y (N, 1), the digit 0 as 10; integrity by their own sums."""
    rng = np.random.default_rng(0)
    images, lists = {}, {}
    for split, count in {"train": 40, "test": 20, "extra": 60}.items():
        pixels = rng.integers(0, 256, (32, 32, 3, count)).astype(np.uint8)
        labels = 1 + np.arange(count) % 10
        path = tmp_path / f"{split}_32x32.mat"
        savemat(path, {"X": pixels, "y": labels[:, None].astype(np.uint8)}, do_compression=True)
        images[split] = torch.from_numpy(pixels).permute(3, 2, 0, 1), torch.from_numpy(labels % 10)
        lists[split] = ["", path.name, hashlib.md5(path.read_bytes()).hexdigest()]
    monkeypatch.setattr(SVHN, "split_list", lists)
    return tmp_path, images


def test_svhn(svhn):
    root, images = svhn
    data = hold_out(read_svhn(root), 0)
    assert data.classes == tuple("0123456789")
    assert (data.pixels.size, data.augment) == ((32, 32), "crop_flip")
    assert data.splits["val"] is data.splits["test"]
    for name in ("train", "test"):
        assert torch.equal(data.splits[name].images, images[name][0])
        assert torch.equal(data.splits[name].targets, images[name][1])
        assert data.splits[name].images.is_contiguous()


def test_extra_images_and_validation(svhn):
    root, images = svhn
    data = hold_out(read_svhn(root, extra=True), 0.2, 3)
    train, val, test = data.splits.values()
    assert Counter(train.targets.tolist()) == dict.fromkeys(range(10), 8)
    assert Counter(val.targets.tolist()) == dict.fromkeys(range(10), 2)
    assert len(test) == 20

    def rows(shown, labels):
        return sorted((image.numpy().tobytes(), int(label)) for image, label in zip(shown, labels, strict=True))

    pixels, labels = (torch.cat([images[name][part] for name in ("train", "extra")]) for part in (0, 1))
    read = rows(torch.cat([train.images, val.images]), torch.cat([train.targets, val.targets]))
    assert read == rows(pixels, labels)
    again, other = (hold_out(read_svhn(root, True), 0.2, seed).splits["val"].images for seed in (3, 4))
    assert torch.equal(again, val.images)
    assert not torch.equal(other, val.images)


def test_a_file_that_is_missing_or_damaged_is_named(svhn):
    root, _ = svhn
    extra = root / "extra_32x32.mat"
    extra.write_bytes(extra.read_bytes()[:-5])
    with pytest.raises(
        ValueError, match=r"^svhn was not found whole in .*: extra_32x32\.mat is damaged; copy it again$"
    ):
        hold_out(read_svhn(root, extra=True))
    extra.unlink()
    assert len(hold_out(read_svhn(root)).splits["test"]) == 20
    with pytest.raises(ValueError, match=r"^svhn was not found whole in .*: there is no extra_32x32\.mat$"):
        hold_out(read_svhn(root, extra=True))
    (root / "test_32x32.mat").unlink()
    with pytest.raises(ValueError, match=r"^svhn was not found whole in .*: there is no test_32x32\.mat$"):
        hold_out(read_svhn(root))
