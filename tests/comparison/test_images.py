from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from looksharp.comparison.grouping import group_runs
from looksharp.comparison.images import common_data, fingerprint
from looksharp.data.build import DataConfig, build_data
from looksharp.data.sets.synthetic import digits
from looksharp.data.split import Pixels
from looksharp.training.facts import RunFacts, write_facts
from looksharp.training.settings import RunConfig, TrainingConfig

SIZES = {"val": 4, "test": 20}


@pytest.fixture
def methods(tmp_path):
    """Two methods, of runs with the given (data, seed)."""

    def leave(*sources, classes=None):
        paths = []
        for number, (data, seed) in enumerate(sources):
            objective = "icasc" if number == len(sources) - 1 else "classification"
            config = RunConfig(objective, data=data, training=TrainingConfig(seed=seed))
            paths.append(tmp_path / f"run{number}")
            paths[-1].mkdir()
            (paths[-1] / "config.yaml").write_text(yaml.safe_dump(config.flat()))
            names = list("0123456789") if classes is None else classes[number]
            write_facts(paths[-1], RunFacts(tuple(names), Pixels((8, 8)), multilabel=False))
        return group_runs(paths)

    return leave


def make_folder(root, test=True):
    rng = np.random.default_rng(0)
    for part in ("train", "test") if test else ("",):
        for name in ("ant", "bee"):
            (root / part / name).mkdir(parents=True)
            for number in range(10):
                pixels = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / part / name / f"{number}.png")
    return str(root)


def test_synthetic_images_are_the_first_runs_for_all(methods):
    small = DataConfig("digits", settings=SIZES | {"train": 12})
    data = common_data(methods((small, 3), (small, 4), (replace(small, settings=SIZES | {"train": 9}), 5)))
    expected = build_data(small, 3)
    torch.testing.assert_close(data.splits["test"].images, expected.splits["test"].images)


def test_cluttered_images_are_the_first_runs_for_all(methods):
    small = DataConfig("cluttered_digits", settings={"train": 12, "val": 4, "test": 20})
    data = common_data(methods((small, 3), (small, 4)))
    torch.testing.assert_close(data.splits["test"].images, build_data(small, 3).splits["test"].images)


def test_other_cues_in_the_test_images_are_refused(methods):
    data = DataConfig("biased_digits", settings=SIZES | {"train": 12})
    found = methods((data, 0), (replace(data, settings=data.settings | {"rho": 0.5}), 0))
    tests = r"biased \(20\), unbiased \(20\), conflicting \(20\)"
    with pytest.raises(
        ValueError, match=rf"runs must be tested on the same images; .*run1 has others than .*run0, {tests}: leave it"
    ):
        common_data(found)


def test_other_classes_are_refused(methods):
    classes = [list("0123456789"), ["cat", "dog"]]
    with pytest.raises(ValueError, match=r"same classes; .*run1 has 2, first 'cat', and .*run0 10, first '0'"):
        common_data(methods((DataConfig(), 0), (DataConfig(), 0), classes=classes))


def test_a_folder_divided_by_seed_must_have_been_divided_alike(methods, tmp_path):
    config = DataConfig(make_folder(tmp_path / "images", test=False))
    classes = [["ant", "bee"]] * 2
    with pytest.raises(ValueError, match=r"run1 has others than .*run0, test \(2\): they are divided by seed, so give"):
        common_data(methods((config, 0), (config, 1), classes=classes))


def test_a_test_folder_serves_all_seeds(methods, tmp_path):
    config = DataConfig(make_folder(tmp_path / "images"))
    data = common_data(methods((config, 0), (config, 1), classes=[["ant", "bee"]] * 2))
    assert list(data.tests) == ["test"]


def test_a_fingerprint_is_of_targets_and_pixels():
    split = digits(4, 4, 20).splits["test"]
    same = replace(split, images=split.images.clone())
    assert fingerprint(split) == fingerprint(same)
    assert fingerprint(split) != fingerprint(replace(split, targets=split.targets.flip(0)))
    brighter = split.images.clone()
    brighter[-1, 0, 5, 5] ^= 1
    assert fingerprint(split) != fingerprint(replace(split, images=brighter))
