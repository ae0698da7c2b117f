import json
from dataclasses import replace

import pytest
import torch
from PIL import Image

from looksharp.data.build import DataConfig, build_data
from looksharp.data.class_map import listed_classes, map_lines, mapped, read_class_map, renamed
from looksharp.data.marked import read_marks_of
from looksharp.data.pixels import Pixels
from looksharp.data.split import Data
from looksharp.data.splits.memory import TensorSplit
from looksharp.data.splits.stream import StreamSplit
from looksharp.marks.marks import Marks
from looksharp.training.settings import MarksConfig

CLASSES = ("a", "b", "c", "d")


def split(targets, marks=None):
    images = torch.arange(len(targets), dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 2, 2)
    return TensorSplit(targets=torch.tensor(targets), marks=marks, groups=torch.arange(len(targets)), images=images)


def data(targets=(0, 1, 2, 3, 3, 0), marks=None, classes=CLASSES):
    return Data("set", classes, {"train": split(targets, marks), "val": split(targets)}, Pixels((2, 2)))


def images_of(found):
    return found.images[:, 0, 0, 0].tolist()


def test_targets_are_mapped_and_images_left_out():
    """Against a loop over the images."""
    partner = {"a": "four", "b": None, "c": "two", "d": "four"}
    model = ("one", "two", "three", "four", "five")
    found = mapped(data(), [partner[name] for name in CLASSES], model)
    expected = [(i, model.index(partner[CLASSES[t]])) for i, t in enumerate((0, 1, 2, 3, 3, 0)) if partner[CLASSES[t]]]
    for name in ("train", "val"):
        kept = found.splits[name]
        assert list(zip(images_of(kept), kept.targets.tolist(), strict=True)) == expected
        assert kept.groups.tolist() == images_of(kept)
    assert (found.classes, found.sources) == (model, partner)


def test_one_split_of_two_names_stays_one():
    one = split((0, 1, 2, 3))
    found = mapped(Data("set", CLASSES, {"train": one, "val": one}, Pixels((2, 2))), ["x", "y", "y", None], ("y", "x"))
    assert found.splits["train"] is found.splits["val"]


def test_multi_hot_targets_are_mapped_column_by_column():
    targets = torch.tensor([[1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 1, -1], [0, 0, 0, 0], [-1, 0, 0, 1], [-1, -1, 0, -1]])
    several = Data("set", CLASSES, {"train": split(targets.tolist())}, Pixels((2, 2)))
    found = mapped(several, ["z", None, "x", "z"], ("x", "y", "z")).splits["train"]
    # Image 1 has no class left. Of an unknown class and an absent one, their union is taken as absent.
    assert images_of(found) == [0, 2, 3, 4, 5]
    assert found.targets.tolist() == [[0, 0, 1], [1, 0, 0], [0, 0, 0], [0, 0, 1], [0, 0, -1]]


def test_marks_go_along_and_those_of_classes_that_become_one_are_united():
    masks = torch.zeros(4, 2, 2, dtype=torch.bool)
    masks[0, 0, 0] = masks[1, 1, 1] = masks[2, 0, 1] = masks[3, 1, 0] = True
    marks = Marks([0, 0, 1, 3], [0, 3, 1, 3], masks)
    found = mapped(data(marks=marks), ["x", None, "y", "x"], ("y", "x")).splits["train"]
    assert [(label, mask.tolist()) for label, mask in found.marks.of(0)] == [(1, [[True, False], [False, True]])]
    assert images_of(found) == [0, 2, 3, 4, 5]
    assert [(label, mask.tolist()) for label, mask in found.marks.of(2)] == [(1, [[False, False], [True, False]])]
    assert len(found.marks) == 2


def test_marks_may_name_the_classes_of_the_data_or_those_of_the_model(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "train" / name).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (4, 4)).save(tmp_path / "train" / name / f"{number}.png")
    names = ["cat", "felidae", "dog"]
    boxes = [
        ("cat/0", 1, [0, 0, 1, 4]),
        ("cat/0", 2, [3, 0, 1, 4]),
        ("cat/1", 2, [0, 0, 4, 4]),
        ("dog/0", 3, [0, 0, 1, 1]),
    ]
    files = list(dict.fromkeys(file for file, _, _ in boxes))
    content = {
        "images": [{"id": i, "file_name": f"train/{file}.png"} for i, file in enumerate(files)],
        "categories": [{"id": i, "name": name} for i, name in enumerate(names, 1)],
        "annotations": [{"image_id": files.index(file), "category_id": k, "bbox": box} for file, k, box in boxes],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    config = DataConfig(str(tmp_path), val_share=0.5, class_map={"cat": "felidae"})
    found = build_data(config)
    assert found.classes == ("felidae", "dog")
    paths = [f"train/{name}/{number}.png" for name in ("cat", "dog") for number in range(4)]
    read = read_marks_of(tmp_path / "boxes.json", tmp_path, paths, found, MarksConfig("boxes.json"))
    assert [(mark.image, mark.label, int(mark.mask.sum())) for mark in read.marks] == [
        ("train/cat/0.png", "felidae", 8),
        ("train/cat/1.png", "felidae", 16),
        ("train/dog/0.png", "dog", 1),
    ]


def test_names_match_without_case_and_punctuation_and_the_rest_keep_theirs():
    found = renamed(data(classes=("Great White-Shark", "b", "c", "d")), {"great_white_shark": "shark", "c": None})
    assert found.classes == ("shark", "b", "d")
    assert found.sources == {"Great White-Shark": "shark", "b": "b", "c": None, "d": "d"}
    assert found.splits["train"].targets.tolist() == [0, 1, 2, 2, 0]


@pytest.mark.parametrize(
    ("class_map", "message"),
    [
        ({"gardn": "x"}, "class_map names 'gardn', which data set do not have; did you mean 'garden'?"),
        (dict.fromkeys(("garden", "b", "c", "d")), "class_map leaves out every class of data set"),
        ({"garden": None, "b": None, "c": None}, "class_map leaves no image in split val of data set"),
    ],
)
def test_maps_that_do_not_fit(class_map, message):
    several = data(classes=("garden", "b", "c", "d"))
    several = replace(several, splits={"train": several.splits["train"], "val": split((0, 1, 2))})
    with pytest.raises(ValueError, match="class_map") as caught:
        renamed(several, class_map)
    assert str(caught.value) == message


def test_streams_cannot_be_mapped():
    stream = StreamSplit(targets=torch.full((4,), -1), shards=["s.tar"], counts=[4], classes=4)
    with pytest.raises(ValueError, match=r"^classes of shards such as s.tar are numbers, which class_map cannot chang"):
        stream.relabelled(torch.arange(4), 4)


FILES = {
    "map.yaml": "n01440764: tench\n'1': -\ndog: ~\ncat: felidae\ntiger: felidae\n",
    "map.yml": '{n01440764: "tench", 1: "-", dog: null, cat: felidae, tiger: felidae}',
    "map.json": '{"n01440764": "tench", "1": "-",\t"dog": null, "cat": "felidae", "tiger": "felidae"}',
    "map.csv": "data_class,model_class\nn01440764,tench\n1,-\ndog,\ncat,felidae\n tiger , felidae \n",
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_a_map(tmp_path, name):
    (tmp_path / name).write_text(FILES[name])
    expected = {"n01440764": "tench", "1": None, "dog": None, "cat": "felidae", "tiger": "felidae"}
    assert read_class_map(tmp_path / name) == expected
    assert DataConfig(class_map=tmp_path / name).class_map == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("map.yaml", "cat: [a, b]", "maps 'cat' to several classes or none; give one class; got "),
        ("map.json", '{"cat": ["a", "b"]}', r"maps 'cat' to several classes or none; give one class; got \['a', 'b'\]"),
        ("map.json", '{"cat": 3}', "maps 'cat' to several classes or none; give one class; got 3"),
        ("map.yaml", "cat: a\ncat: b", "maps 'cat' to 'a' and to 'b'; give one class"),
        ("map.json", '{"cat": "a", "cat": "b"}', "maps 'cat' to 'a' and to 'b'; give one class"),
        ("map.csv", "cat,a\ncat,b", "maps 'cat' to 'a' and to 'b'; give one class"),
        ("map.csv", "cat,a,b", "must have two columns, data_class,model_class; got cat,a,b"),
        ("map.yaml", "- cat", "must hold data_class: model_class"),
        ("map.json", "[1]", "must hold {data_class: model_class}"),
        ("map.json", "{", "cannot be read: "),
        ("map.yaml", "a: 'b", "cannot be read: "),
        ("map.yaml", "", "is empty; write lines of data_class: model_class"),
        ("map.json", "{}", "is empty; write lines of data_class: model_class"),
    ],
)
def test_files_that_are_no_map_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=f"^class_map .*{name} {message}"):
        DataConfig(class_map=tmp_path / name)


def test_a_file_of_a_map_must_exist_and_be_of_a_known_kind(tmp_path):
    with pytest.raises(ValueError, match=r"^class_map must be a .csv, .json or .yaml file; .*no.yaml does not exist$"):
        DataConfig(class_map=tmp_path / "no.yaml")
    (tmp_path / "map.txt").write_text("a: b")
    with pytest.raises(ValueError, match=r"^class_map must be a .csv, .json or .yaml file; got .*map.txt$"):
        DataConfig(class_map=tmp_path / "map.txt")


def test_tables_are_shortened_past_20_lines():
    assert map_lines({"a": "x", "bcd": None}) == ["a    x", "bcd  - (its images are left out)"]
    assert len(map_lines({str(i): "x" for i in range(20)})) == 20
    lines = map_lines({str(i): "x" for i in range(1000)})
    assert (len(lines), lines[-1]) == (20, "… and 981 more")
    assert listed_classes(["a", "b"]) == "a, b"
    assert listed_classes([str(i) for i in range(23)]).endswith("18, 19 and 3 more")
