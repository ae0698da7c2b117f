import re
from dataclasses import replace
from functools import wraps

import numpy as np
import pytest
import torch
from PIL import Image

from looksharp.data.build import DataConfig, build_data
from looksharp.data.registry import DATA_SETS
from looksharp.data.split import Data, Pixels
from looksharp.data.splits.files import FileSplit

KNOWN = ", ".join(sorted(DATA_SETS))
SIZES = {"train": 6000, "val": 1000, "test": 2000}


@pytest.fixture
def called(monkeypatch, tmp_path):
    """What the makers of data sets are called with; nothing is made."""
    calls, split = [], FileSplit(targets=torch.tensor([0, 1]), root=tmp_path, paths=["a.png", "b.png"])

    def recording(reader):
        @wraps(reader)
        def record(**given):
            calls.append((reader.__name__, given))
            return Data(reader.__name__, ("a", "b"), {"train": split, "val": split}, Pixels((4, 4)))

        return record

    for name, made in DATA_SETS.items():
        monkeypatch.setitem(DATA_SETS._things, name, replace(made, reader=recording(made.reader)))
    return calls


@pytest.mark.parametrize(
    ("settings", "want"),
    [
        ({}, ("digits", SIZES | {"seed": 7})),
        ({"data": "digits", "settings": {"train": 30}}, ("digits", SIZES | {"train": 30, "seed": 7})),
        (
            {"data": "biased_digits", "settings": {"rho": 0.5, "train": 40}},
            ("biased_digits", SIZES | {"rho": 0.5, "train": 40, "seed": 7}),
        ),
        (
            {"data": "cluttered_digits"},
            ("cluttered_digits", SIZES | {"distractors": 8, "test_distractors": None, "seed": 7}),
        ),
        (
            {
                "data": "cluttered_mnist",
                "settings": {"distractors": 3, "test_distractors": [4, 64], "train": 5, "val": 6, "test": 7}
                | {"val_digits": 0.3},
            },
            (
                "cluttered_mnist",
                {"root": "ROOT", "distractors": 3, "test_distractors": [4, 64], "val_digits": 0.3, "seed": 7}
                | {"train": 5, "val": 6, "test": 7},
            ),
        ),
        (
            {"data": "cifar10", "val_share": 0.3},
            ("read_torchvision", {"name": "cifar10", "root": "ROOT"}),
        ),
        ({"data": "cifar100"}, ("read_torchvision", {"name": "cifar100", "root": "ROOT"})),
        (
            {"data": "mnist", "val_share": 0.0},
            ("read_torchvision", {"name": "mnist", "root": "ROOT"}),
        ),
        ({"data": "voc"}, ("read_pascal", {"root": "ROOT", "set": None})),
        ({"data": "voc", "image_size": 64}, ("read_pascal", {"root": "ROOT", "set": None})),
    ],
)
def test_each_name_has_its_maker(called, tmp_path, settings, want):
    config = DataConfig(**settings, root=tmp_path)
    data = build_data(config, seed=7)
    assert data.name == want[0]
    assert data.pixels.size == ((64, 64) if config.image_size else (4, 4))
    assert called == [(want[0], {key: tmp_path if value == "ROOT" else value for key, value in want[1].items()})]


def test_a_made_set():
    data = build_data(DataConfig("biased_digits", settings={"train": 12, "rho": 1.0}), seed=3)
    assert data.name == "biased_digits, rho 1"
    assert len(data.splits["train"]) == 12
    assert data.splits["train"].groups.tolist() == [0] * 12


def test_settings_serve_as_keys():
    """As commands use them, to build each data set once."""
    one, same, other = (DataConfig("cluttered_digits", settings={"test_distractors": [count]}) for count in (4, 4, 8))
    assert len({one, same, other}) == 2


@pytest.fixture
def folder(tmp_path):
    for name in ("cat", "dog"):
        for n in range(10):
            path = tmp_path / "pets" / "train" / name / f"{n}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((9, 9, 3), n, np.uint8)).save(path)
    return tmp_path / "pets"


def test_any_other_name_is_a_folder(folder, monkeypatch):
    data = build_data(DataConfig(str(folder), image_size=16, val_share=0.3), seed=2)
    assert data.pixels.size == (16, 16)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 14, "val": 6}
    assert isinstance(data.splits["train"], FileSplit)
    again, other = (build_data(DataConfig(str(folder), val_share=0.3), seed=seed) for seed in (2, 3))
    assert again.splits["val"].paths == data.splits["val"].paths != other.splits["val"].paths
    monkeypatch.chdir(folder.parent)
    assert build_data(DataConfig("pets")).classes == ("cat", "dog")  # relative, and without a slash


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("cifar", "did you mean 'cifar10'?"),
        ("digit", "did you mean 'digits'?"),
        ("bias_digits", "did you mean 'biased_digits'?"),
        ("photographs", f"there are {KNOWN}"),
    ],
)
def test_unknown_names(name, hint):
    message = f"data {name!r} is neither a folder nor a set that is known; {hint}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        build_data(DataConfig(name))


def test_a_path_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"^data folder .*/cifar does not exist$"):
        build_data(DataConfig(str(tmp_path / "cifar")))


READ = [name for name, made in DATA_SETS.items() if made.needs_root]


@pytest.mark.parametrize("name", READ)
def test_published_sets_need_their_root(name):
    with pytest.raises(
        ValueError, match=rf"^root must name the folder that holds {name}'s files; nothing is downloaded$"
    ):
        build_data(DataConfig(name))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"val_share": 1.0}, "val_share must be at least 0 and below 1; got 1"),
        ({"val_share": -0.1}, "val_share must be at least 0 and below 1; got -0.1"),
        ({"settings": {"train": 0}}, "digits.train must be at least 1 and at most 500000; got 0"),
        ({"settings": {"val": 0}}, "digits.val must be at least 1 and at most 500000; got 0"),
        ({"settings": {"test": -1}}, "digits.test must be at least 1 and at most 500000; got -1"),
        ({"settings": {"train": 10**12}}, "digits.train must be at least 1 and at most 500000; got 1000000000000"),
        ({"image_size": 1_000_000}, "image_size must be at least 1 and at most 8192; got 1000000"),
        ({"image_size": 0}, "image_size must be at least 1 and at most 8192; got 0"),
    ],
)
def test_numbers_out_of_range(settings, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        build_data(DataConfig(**settings))
