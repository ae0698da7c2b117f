"""Sets that are made, a plugin's too, small copies of published ones and an image folder, held to one contract."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from looksharp.data.build import DataConfig, build_data
from looksharp.data.registry import DATA_SETS
from looksharp.settings import SettingError, settings_of


def _picture(path, seed, size=(18, 22)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def imagenet(root):
    for split, count in (("train", 5), ("val", 2)):
        for number, wnid in enumerate(("n01440764", "n02012849")):
            for place in range(count):
                _picture(root / split / wnid / f"{wnid}_{place}.JPEG", 10 * number + place)


def caltech256(root):
    for number, name in ((1, "ak47"), (2, "flag")):
        for place in range(32):
            folder = root / "256_ObjectCategories" / f"{number:03d}.{name}"
            _picture(folder / f"{number:03d}_{place:04d}.jpg", 100 * number + place)


def waterbirds(root):
    home = root / "waterbird_complete95_forest2water2"
    rows = ["img_id,img_filename,y,split,place"]
    for split in range(3):
        for place in range(4):
            path = f"{place}.Bird/{split}_{place}.jpg"
            _picture(home / path, 10 * split + place)
            rows.append(f"{place},{path},{place % 2},{split},{place // 2}")
    (home / "metadata.csv").write_text("\n".join(rows) + "\n")


def coco(root):
    for split, count in (("train", 4), ("val", 2)):
        images, annotations = [], []
        for place in range(count):
            _picture(root / f"{split}2017" / f"{place:012d}.jpg", place)
            images.append({"id": place, "file_name": f"{place:012d}.jpg", "height": 18, "width": 22})
            for category in (1, 18):
                box = [2 + place, 3, 5, 4 + category % 3]
                annotations.append({"image_id": place, "category_id": category, "bbox": box, "id": len(annotations)})
        categories = [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}]
        path = root / "annotations" / f"instances_{split}2017.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))


def voc(root):
    home = root / "VOCdevkit" / "VOC2012"
    for split, names in (
        ("train", ("2007_000001", "2007_000002", "2007_000003")),
        ("val", ("2007_000004", "2007_000005")),
    ):
        for seed, name in enumerate(names):
            _picture(home / "JPEGImages" / f"{name}.jpg", seed)
            mask = np.zeros((18, 22), np.uint8)
            mask[3:9, 4 + seed : 12] = 12  # a dog
            path = home / "SegmentationClass" / f"{name}.png"
            path.parent.mkdir(exist_ok=True)
            picture = Image.fromarray(mask).convert("P")
            picture.putpalette([0, 0, 0] + [200] * 765)
            picture.save(path)
        table = home / "ImageSets" / "Segmentation" / f"{split}.txt"
        table.parent.mkdir(parents=True, exist_ok=True)
        table.write_text("\n".join(names) + "\n")


def cub200(root):
    home, classes = root / "CUB_200_2011", ("001.Black_Bird", "002.Red_Bird")
    tables = {name: [] for name in ("images", "image_class_labels", "train_test_split", "bounding_boxes")}
    for number in range(1, 15):
        label = number % 2
        path = f"{classes[label]}/{number}.jpg"
        _picture(home / "images" / path, number)
        tables["images"].append(f"{number} {path}")
        tables["image_class_labels"].append(f"{number} {label + 1}")
        tables["train_test_split"].append(f"{number} {int(number < 11)}")
        tables["bounding_boxes"].append(f"{number} 2.0 3.0 9.0 {number % 5 + 4}.0")
    tables["classes"] = [f"{place} {name}" for place, name in enumerate(classes, 1)]
    for name, lines in tables.items():
        (home / f"{name}.txt").write_text("\n".join(lines) + "\n")


ROOTS = {each.__name__: each for each in (imagenet, caltech256, waterbirds, coco, voc, cub200)}

SMALL = {"train": 12, "val": 6, "test": 8}
DIVIDED = ("imagenet", "waterbirds", "coco", "voc")
MADE = [name for name, made in DATA_SETS.items() if not made.needs_root]


def config_of(name, tmp_path):
    if name in ROOTS:
        ROOTS[name](tmp_path)
        return DataConfig(name, tmp_path, image_size=16, val_share=0.3)
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


@pytest.fixture(params=[*MADE, *ROOTS, "a folder"])
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
    published = config.data in DIVIDED  # whose splits nothing draws
    differ = any(split.fingerprint() != other.splits[name].fingerprint() for name, split in one.splits.items())
    assert differ is not published


def test_some_images_of_a_split(config):
    for split in build_data(config, seed=3).splits.values():
        some = split.taken([1, 0])
        assert torch.equal(some.targets, split.targets[[1, 0]])
        assert torch.equal(some.image(0), split.image(1))


@pytest.mark.parametrize("name", MADE)
def test_a_setting_that_is_not_there_is_one_line(name):
    with pytest.raises(SettingError, match=rf"^'{name}\.not_a_setting' is not a setting; .+\Z"):
        DataConfig(name, settings={"not_a_setting": 1})
