"""Every set that is made, a plugin's too, and an image folder, held to what the rest of looksharp takes for granted."""

import numpy as np
import pytest
import torch
from PIL import Image

from looksharp.data.build import DataConfig, build_data
from looksharp.data.registry import DATA_SETS
from looksharp.settings import SettingError, settings_of

SMALL = {"train": 12, "val": 6, "test": 8}
MADE = [name for name, made in DATA_SETS.items() if not made.needs_root]


def config_of(name, tmp_path):
    if name != "a folder":
        known = settings_of(DATA_SETS[name].reader, DATA_SETS[name].without)
        return DataConfig(name, settings={size: count for size, count in SMALL.items() if size in known})
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for label in ("cat", "dog"):
            for number in range(5):
                path = tmp_path / split / label / f"{number}.png"
                mask = tmp_path / "masks" / split / label / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                mask.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)
                Image.fromarray((rng.random((20, 24)) > 0.5).astype(np.uint8) * 255).save(mask)
    return DataConfig(str(tmp_path), image_size=16, val_share=0.4)


@pytest.fixture(params=[*MADE, "a folder"])
def config(request, tmp_path):
    return config_of(request.param, tmp_path)


def test_splits_targets_groups_and_marks_fit_each_other(config):
    data = build_data(config, seed=3)
    assert list(data.splits)[:2] == ["train", "val"]
    assert len(set(data.classes)) == len(data.classes) >= 2
    assert all(isinstance(name, str) and name for name in data.classes)
    assert set(data.tests) <= set(data.splits)
    for split in data.splits.values():
        assert len(split) == len(split.targets) > 0
        if data.multilabel:
            assert split.targets.shape == (len(split), len(data.classes))
            assert set(split.targets.unique().tolist()) <= {0.0, 1.0}
        else:
            assert 0 <= int(split.targets.min()) <= int(split.targets.max()) < len(data.classes)
        if split.groups is not None:
            assert split.groups.shape == (len(split),)
            assert 0 <= int(split.groups.min()) <= int(split.groups.max()) < len(data.group_names)
        assert len(set(split.names)) == len(split)
        for place in range(len(split)):
            image = split.image(place)
            assert (image.dtype, image.shape[0]) == (torch.uint8, 3)
            assert split.size(place) == tuple(image.shape[1:])
            for label, mask in [] if split.marks is None else split.marks.of(place):
                assert tuple(mask.shape) == split.size(place)
                assert data.multilabel or label == int(split.targets[place])


def test_batches_are_of_the_size_that_is_said(config):
    data = build_data(config, seed=3)
    for split in data.splits.values():
        (batch,) = split.loader([list(range(len(split)))], data.pixels)
        assert tuple(batch.image.shape) == (len(split), 3, *data.pixels.size)
        assert torch.isfinite(batch.image).all()
        assert torch.equal(batch.target, split.targets)
        if split.marks:
            assert tuple(batch.marks.mask.shape[1:]) == data.pixels.size
    (batch,) = data.splits["train"].loader([[0, 1]], data.pixels, augment=data.augment, seed=1)
    assert tuple(batch.image.shape) == (2, 3, *data.pixels.size)


def test_the_seed_alone_draws(config):
    one, same, other = (build_data(config, seed=seed) for seed in (3, 3, 4))
    for name, split in one.splits.items():
        assert split.fingerprint() == same.splits[name].fingerprint()
    assert any(split.fingerprint() != other.splits[name].fingerprint() for name, split in one.splits.items())


def test_some_images_of_a_split(config):
    for split in build_data(config, seed=3).splits.values():
        some = split.taken([1, 0])
        assert torch.equal(some.targets, split.targets[[1, 0]])
        assert torch.equal(some.image(0), split.image(1))


@pytest.mark.parametrize("name", MADE)
def test_a_setting_that_is_not_there_is_one_line(name):
    with pytest.raises(SettingError, match=rf"^'{name}\.not_a_setting' is not a setting; .+\Z"):
        DataConfig(name, settings={"not_a_setting": 1})
