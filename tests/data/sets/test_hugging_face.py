import re
import sys

import numpy as np
import pytest
from PIL import Image

from looksharp.data.build import DataConfig, build_data
from looksharp.data.hold_out import hold_out
from looksharp.data.sets.hugging_face import read_hugging_face

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Nothing is fetched, nor left in the user's cache."""
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def picture(value, mode="RGB", size=(9, 6)):
    return Image.new("RGB", size, (value, value, value)).convert(mode)


def table(values, labels, label=None, **columns):
    features = {"img": datasets.Image(), "label": label or datasets.ClassLabel(names=["cat", "dog"])}
    content = {"img": [picture(value) for value in values], "label": labels} | columns
    for name in columns:
        features[name] = datasets.Value("string")
    return datasets.Dataset.from_dict(content, features=datasets.Features(features))


def saved(tmp_path, **splits):
    path = tmp_path / "saved"
    datasets.DatasetDict(splits).save_to_disk(path)
    return str(path)


def greys(split):
    return [int(split.image(place).float().mean()) for place in range(len(split))]


def test_a_saved_set(tmp_path):
    source = saved(
        tmp_path,
        train=table([10, 20, 30], [1, 0, 1], words=["a", "b", "c"]),
        validation=table([40, 50], [0, 1], words=["a", "b"]),
        test=table([60], [1], words=["c"]),
        unsupervised=table([70], [0], words=["d"]),
    )
    data = build_data(DataConfig(f"hf:{source}", image_size=8))
    assert data.classes == ("cat", "dog")
    assert {name: split.targets.tolist() for name, split in data.splits.items()} == {
        "train": [1, 0, 1],
        "val": [0, 1],
        "test": [1],
    }
    assert [greys(split) for split in data.splits.values()] == [[10, 20, 30], [40, 50], [60]]
    assert data.splits["train"].image(0).shape == (3, 6, 9)
    batches = list(data.splits["train"].loader([[2, 0], [1]], data.pixels, workers=1))
    assert [batch.target.tolist() for batch in batches] == [[1, 1], [0]]
    shown = data.pixels.denormalize(batches[0].image) * 255
    assert shown.mean((1, 2, 3)).round().tolist() == [30, 10]


def test_validation_is_held_out_class_by_class(tmp_path):
    source = saved(tmp_path, train=table(range(0, 200, 10), [0] * 10 + [1] * 10), test=table([7, 8], [0, 1]))
    data = hold_out(read_hugging_face(source), 0.2, 3)
    train, val = data.splits["train"], data.splits["val"]
    assert sorted(val.targets.tolist()) == [0, 0, 1, 1]
    assert sorted(greys(train) + greys(val)) == list(range(0, 200, 10))
    assert [int(grey >= 100) for grey in greys(val)] == val.targets.tolist()
    assert greys(hold_out(read_hugging_face(source), 0.2, 3).splits["val"]) == greys(val)
    assert greys(hold_out(read_hugging_face(source), 0).splits["val"]) == [7, 8]
    alone = tmp_path / "alone"
    table([1, 2, 3, 4], [0, 0, 1, 1]).save_to_disk(alone)  # no splits at all
    assert len(hold_out(read_hugging_face(str(alone)), 0.5).splits["val"]) == 2
    with pytest.raises(ValueError, match=r"alone has neither val nor test; val_share must be above 0$"):
        hold_out(read_hugging_face(str(alone)), 0)


def test_parquet(tmp_path):
    folder = tmp_path / "parquet"
    folder.mkdir()
    for split, values in {"train": [10, 20, 30, 40], "test": [50, 60]}.items():
        table(values, [0, 1] * (len(values) // 2)).to_parquet(folder / f"{split}-00000-of-00001.parquet")
    data = hold_out(read_hugging_face(str(folder)), 0)
    assert [greys(split) for split in data.splits.values()] == [[10, 20, 30, 40], [50, 60], [50, 60]]
    file = hold_out(read_hugging_face(str(folder / "train-00000-of-00001.parquet")), 0.5)
    assert sorted(greys(file.splits["train"]) + greys(file.splits["val"])) == [10, 20, 30, 40]


def test_parquet_of_one_image_a_class_cannot_be_divided(tmp_path):
    table([10, 20, 30], [0, 1, 1]).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(ValueError, match=r"^class 0 has 1 images, too few to divide into 2 splits"):
        hold_out(read_hugging_face(str(tmp_path / "train.parquet")), 0.5)


def test_an_image_folder_and_odd_colour_modes(tmp_path):
    root = tmp_path / "images"
    for split in ("train", "test"):
        for number, (name, mode) in enumerate([("cat", "L"), ("dog", "CMYK"), ("dog", "RGB")]):
            path = root / split / name / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(100, mode).save(path, quality=100)
    data = hold_out(read_hugging_face(str(root)), 0)
    assert data.classes == ("cat", "dog")
    assert data.splits["train"].targets.tolist() == [0, 1, 1]
    assert np.allclose(greys(data.splits["train"]), 100, atol=2)


def test_words_and_numbers_are_classes_too(tmp_path):
    words = datasets.Value("string")
    source = saved(tmp_path, train=table([1, 2, 3], ["b", "a", "b"], words), test=table([4], ["a"], words))
    data = hold_out(read_hugging_face(source), 0)
    assert data.classes == ("a", "b")
    assert [split.targets.tolist() for split in data.splits.values()] == [[1, 0, 1], [0], [0]]
    numbers = datasets.Value("int64")
    path = tmp_path / "numbers"
    datasets.DatasetDict(train=table([1, 2], [30, 4], numbers), test=table([4], [30], numbers)).save_to_disk(path)
    data = hold_out(read_hugging_face(str(path)), 0)
    assert data.classes == ("4", "30")
    assert data.splits["train"].targets.tolist() == [1, 0]


def test_several_labels(tmp_path):
    several = datasets.List(datasets.ClassLabel(names=["cat", "dog", "cow"]))
    source = saved(tmp_path, train=table([1, 2, 3], [[0, 2], [], [1]], several), val=table([4], [[2, 1]], several))
    data = hold_out(read_hugging_face(source))
    assert data.multilabel
    assert data.splits["train"].targets.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert data.splits["val"].targets.tolist() == [[0, 1, 1]]


def test_the_column_of_labels_may_be_named(tmp_path):
    made = table([1, 2], [0, 1]).rename_column("label", "fine_label")
    made = made.add_column("coarse_label", [1, 0]).cast_column("coarse_label", datasets.ClassLabel(names=["x", "y"]))
    source = saved(tmp_path, train=made, test=made)
    data = build_data(DataConfig(f"hf:{source}", val_share=0, settings={"label_column": "coarse_label"}))
    assert data.classes == ("x", "y")
    assert data.splits["train"].targets.tolist() == [1, 0]
    with pytest.raises(ValueError, match="must have one column of labels; name it by label_column, one of fine_label"):
        hold_out(read_hugging_face(source))
    with pytest.raises(ValueError, match=r"label_column 'img' is no column of labels in .*saved; got "):
        hold_out(read_hugging_face(source, label_column="img"))


def test_test_splits_without_labels_are_left_out(tmp_path):
    source = saved(tmp_path, train=table([1, 2], [0, 1]), val=table([3], [0]), test=table([4, 5], [-1, -1]))
    data = hold_out(read_hugging_face(source))
    assert list(data.splits) == ["train", "val"]
    assert data.notes == {"images of split test, which has no labels": 2}


def fails(source, message, **settings):
    with pytest.raises(ValueError, match=message.replace("SOURCE", re.escape(str(source)))):
        hold_out(read_hugging_face(str(source), **settings))


def test_what_cannot_be_read(tmp_path):
    fails(saved(tmp_path, train=table([1, 2], [0, 0])), "^class 'dog' has no train image in SOURCE$")
    fails(saved(tmp_path, test=table([1, 2], [0, 1])), "^SOURCE must have a split named train; got test$")
    train = table([1, 2], [0, 1])
    fails(
        saved(tmp_path, train=train, test=table([1, 2], [0, -1])),
        "^SOURCE, split test, column label, row 1: -1 is none of the training classes$",
    )
    fails(saved(tmp_path, train=train.remove_columns("img")), "^SOURCE must have one image column; got none of ")
    one = datasets.Value("string")
    fails(saved(tmp_path, train=table([1, 2], ["a", "a"], one)), "^SOURCE must have at least two classes; got a$")
    (tmp_path / "empty").mkdir()
    fails(tmp_path / "empty", "^data hf:SOURCE cannot be loaded: [^\n]+$")
    (tmp_path / "saved" / "dataset_dict.json").write_text("{")
    fails(tmp_path / "saved", "^data hf:SOURCE cannot be loaded: [^\n]+$")


def test_a_cell_without_an_image(tmp_path):
    rows = {"img": [picture(1), None], "label": [0, 1]}
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    made = datasets.Dataset.from_dict(rows, features=features)
    split = hold_out(read_hugging_face(saved(tmp_path, train=made, test=made)), 0).splits["train"]
    with pytest.raises(ValueError, match=r"^'img' of row 1 holds no image$"):
        split.image(1)


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        ValueError, match=r"^data hf:some/name needs the package datasets: pip install looksharp\[hf\]$"
    ):
        build_data(DataConfig("hf:some/name"))


def test_a_damaged_image(tmp_path):
    made = table([1, 2], [0, 1]).cast_column("img", datasets.Image(decode=False))
    cells = [{"bytes": b"no image", "path": None}, made[1]["img"]]
    made = datasets.Dataset.from_dict({"img": cells, "label": [0, 1]}, features=made.features)
    made = made.cast_column("img", datasets.Image())
    split = hold_out(read_hugging_face(saved(tmp_path, train=made, test=made)), 0).splits["train"]
    with pytest.raises(ValueError, match=r"^'img' of row 0 cannot be read as an image: "):
        split.image(0)
