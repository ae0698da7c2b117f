"""Tables that are no text: the file is named in one line, whichever set it belongs to."""

import pytest

from looksharp.data.crops import read_box
from looksharp.data.folder import read_folder
from looksharp.data.sets.cub200 import read_cub200
from looksharp.data.sets.pascal import read_pascal
from looksharp.data.sets.uec_food import read_uec_food
from looksharp.data.sets.waterbirds import read_waterbirds
from looksharp.data.splits.shards import class_names, shard_sizes
from looksharp.data.tables import read_lines, read_rows

BINARY = b"\x89PNG\r\n\x1a\n\x00\xff\xfe,\xff\n"


def test_lines_and_rows(tmp_path):
    (tmp_path / "a.txt").write_bytes("\ufeffone\r\n\n zwei ü \n".encode())
    assert read_lines(tmp_path / "a.txt", "words") == ["one", " zwei ü "]
    (tmp_path / "a.csv").write_text('\ufeffpath,group\n"a, b.png",x\n"two\nlines.png",y\n')
    assert read_rows(tmp_path / "a.csv") == [
        {"path": "a, b.png", "group": "x"},
        {"path": "two\nlines.png", "group": "y"},
    ]


@pytest.mark.parametrize("content", [BINARY, b"path,group\na.png," + b"x" * 200_000])
def test_what_is_no_table_is_named_in_one_line(tmp_path, content):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(
        ValueError, match=rf"^{tmp_path}/a\.csv (is not text in UTF-8|cannot be read as a table).+\Z"
    ) as caught:
        read_rows(tmp_path / "a.csv")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("read", "file"),
    [
        (read_cub200, "CUB_200_2011/images.txt"),
        (read_waterbirds, "waterbird_complete95_forest2water2/metadata.csv"),
        (read_uec_food, "UECFOOD100/category.txt"),
        (read_pascal, "VOCdevkit/VOC2012/ImageSets/Main/train.txt"),
    ],
)
def test_each_set_names_its_table(tmp_path, read, file):
    (tmp_path / "VOCdevkit/VOC2012/Annotations").mkdir(parents=True)
    (tmp_path / "CUB_200_2011").mkdir()
    (tmp_path / "CUB_200_2011" / "classes.txt").write_text("1 001.Bird\n2 002.Bird\n")
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_bytes(BINARY)
    with pytest.raises(ValueError, match=rf"^{tmp_path}/{file} is not text in UTF-8; expected .+\Z"):
        read(tmp_path)


def test_groups_of_a_folder_and_names_of_shards(tmp_path, draw):
    for path in ("train/a/1.png", "train/b/1.png"):
        draw(tmp_path / path)
    (tmp_path / "groups.csv").write_bytes(BINARY)
    with pytest.raises(ValueError, match=rf"^{tmp_path}/groups\.csv is not text in UTF-8"):
        read_folder(tmp_path)
    (tmp_path / "classes.txt").write_bytes(BINARY)
    with pytest.raises(ValueError, match=r"^classes\.txt beside .*a\.tar is not text in UTF-8; save it as UTF-8$"):
        class_names([str(tmp_path / "a.tar")])


@pytest.mark.parametrize("content", [BINARY, b'{"a.tar": -1}', b'{"a.tar": 1e999}', b"[" * 200_000, b"null", b"[1]"])
def test_sizes_of_shards_that_are_none(tmp_path, content):
    (tmp_path / "sizes.json").write_bytes(content)
    with pytest.raises(
        ValueError, match=r"^sizes\.json beside .*a\.tar must give the number of samples of every shard"
    ):
        shard_sizes([str(tmp_path / "a.tar")])


@pytest.mark.parametrize("words", ["0 0 inf 4", "nan 0 3 4", "0 0 3", "3 0 1 4"])
def test_boxes_that_are_none(words):
    with pytest.raises(ValueError, match=r"^line 1 must have a box x1 y1 x2 y2 with x1 < x2 and y1 < y2; got "):
        read_box(words.split(), "line 1")
