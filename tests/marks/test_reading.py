import json
from collections.abc import Iterator, Mapping

import numpy as np
import pytest
from PIL import Image

from looksharp.marks.mark import Mark
from looksharp.marks.reading import read_marks
from looksharp.marks.writing import write_coco

CLASSES = ["cat", "dog"]


class LazySizes(Mapping[str, tuple[int, int]]):
    """Remembers whose size was read, as a mapping that opens image files would."""

    def __init__(self, sizes: dict[str, tuple[int, int]]) -> None:
        self.sizes = sizes
        self.opened: set[str] = set()

    def __getitem__(self, image: str) -> tuple[int, int]:
        self.opened.add(image)
        return self.sizes[image]

    def __iter__(self) -> Iterator[str]:
        return iter(self.sizes)

    def __len__(self) -> int:
        return len(self.sizes)


IMAGES = {"train/dog/1.png": (7, 5), "train/cat/2.png": (6, 9), "train/cat/3.png": (4, 4)}


def annotations() -> list[Mark]:
    generator = np.random.default_rng(0)
    pairs = [("train/cat/2.png", "dog"), ("train/dog/1.png", "dog"), ("train/cat/2.png", "cat")]
    return [Mark(image, label, generator.random(IMAGES[image]) > 0.5) for image, label in pairs]


def test_coco_round_trip_is_identity_and_reads_few_sizes(tmp_path):
    written = annotations()
    writing, reading = LazySizes(IMAGES), LazySizes(IMAGES)
    write_coco(tmp_path / "a.json", iter(written), writing, CLASSES)
    found = read_marks(tmp_path / "a.json", reading, CLASSES)
    assert [(a.image, a.label) for a in found.marks] == [(a.image, a.label) for a in written]
    for before, after in zip(written, found.marks, strict=True):
        assert after.mask.dtype == np.bool_
        np.testing.assert_array_equal(after.mask, before.mask)
    assert found.skipped == {}
    assert writing.opened == reading.opened == {"train/cat/2.png", "train/dog/1.png"}


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools
def test_written_coco_is_read_by_pycocotools(tmp_path, capsys):
    from pycocotools.coco import COCO

    written = annotations()
    write_coco(tmp_path / "a.json", written, IMAGES, CLASSES)
    coco = COCO(tmp_path / "a.json")
    capsys.readouterr()
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == CLASSES
    for annotation, entry in zip(written, coco.loadAnns(coco.getAnnIds()), strict=True):
        np.testing.assert_array_equal(coco.annToMask(entry), annotation.mask)
        rows, columns = np.nonzero(annotation.mask)
        box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
        assert entry["bbox"] == box
        assert entry["area"] == annotation.mask.sum()
        (image,) = coco.loadImgs(entry["image_id"])
        assert (image["file_name"], image["height"], image["width"]) == (
            annotation.image,
            *IMAGES[annotation.image],
        )


def test_write_coco_replaces_the_file_whole_or_leaves_it(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    path.write_text("before")
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
        with pytest.raises(OSError, match="full"):
            write_coco(path, annotations(), IMAGES, CLASSES)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
    write_coco(path, annotations(), IMAGES, CLASSES)
    assert len(json.loads(path.read_text())["annotations"]) == 3
    assert list(tmp_path.iterdir()) == [path]


ONE = np.ones((7, 5), dtype=bool)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            [("other.png", "dog", ONE)],
            r"mark of 'other.png' as 'dog' must be the only one of its pair, for an im",
        ),
        ([("train/dog/1.png", "cow", ONE)], r"as 'cow' must be .* a class in `classes` \(cat, dog\); unite"),
        ([("train/dog/1.png", "dog", ONE)] * 2, r"must be the only one of its pair"),
        (
            [("train/dog/1.png", "dog", ONE.T)],
            r"boolean mask of the image's \(7, 5\) .* got bool \(5, 7\) with 35",
        ),
        ([("train/dog/1.png", "dog", ONE.astype(float))], r"must have a boolean mask .* got float64"),
        ([("train/dog/1.png", "dog", ~ONE)], r"with a pixel set, got bool \(7, 5\) with 0; leave empty masks out"),
    ],
)
def test_write_coco_refuses_what_it_could_not_give_back(tmp_path, bad, message):
    with pytest.raises(ValueError, match=message):
        write_coco(tmp_path / "a.json", [Mark(*parts) for parts in bad], IMAGES, CLASSES)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.txt", "missing/a.json"])
def test_write_coco_refuses_the_path(tmp_path, name):
    with pytest.raises(ValueError, match=r"path must be a \.json file in a folder that exists, got .*; create"):
        write_coco(tmp_path / name, annotations(), IMAGES, CLASSES)


@pytest.mark.parametrize(("name", "got"), [("no.json", "no such file or folder"), ("a.txt", r"a \.txt file")])
def test_a_path_that_cannot_be_read_is_refused(tmp_path, name, got):
    (tmp_path / "a.txt").touch()
    with pytest.raises(ValueError, match=rf"marks must be a COCO \.json file, .*{name} \({got}\); correct"):
        read_marks(tmp_path / name, IMAGES, CLASSES)


def test_a_folder_called_json_is_a_folder(tmp_path):
    file = tmp_path / "masks.json" / "train" / "dog" / "1.png"
    file.parent.mkdir(parents=True)
    Image.fromarray(ONE).save(file)
    (found,) = read_marks(tmp_path / "masks.json", IMAGES, CLASSES).marks
    assert (found.image, found.label, found.mask.all()) == ("train/dog/1.png", "dog", True)


def test_a_folder_without_annotations_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no mark that can be used \(it is empty\); .*'train/dog/1.png'"):
        read_marks(tmp_path, IMAGES, CLASSES)


LABEL_STUDIO_MIN = [
    {"image": "/data/upload/1/5f3e-1.png", "id": 1, "label": [{"x": 1}], "annotator": 1, "annotation_id": 1}
]


def test_label_studios_short_form_is_named_with_the_way_out(tmp_path):
    path = tmp_path / "project-1.json"
    path.write_text(json.dumps(LABEL_STUDIO_MIN, indent=2))
    message = r"project-1\.json is Label Studio's JSON-MIN, which is not read; export the project there as JSON or COCO"
    with pytest.raises(ValueError, match=message) as caught:
        read_marks(path, IMAGES, CLASSES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("pixels", [[(0, 0), (0, 1)], [(3, 3), (3, 2)], [(1, 1), (2, 2)]])
def test_a_mask_of_two_pixels_is_written_and_read_back(tmp_path, pixels):
    mask = np.zeros((4, 4), dtype=bool)
    mask[tuple(zip(*pixels, strict=True))] = True
    write_coco(tmp_path / "a.json", [Mark("train/cat/3.png", "cat", mask)], IMAGES, CLASSES)
    (found,) = read_marks(tmp_path / "a.json", IMAGES, CLASSES).marks
    np.testing.assert_array_equal(found.mask, mask)


@pytest.mark.parametrize("bracket", ["[", '{"a":'])
def test_brackets_without_end_are_refused_in_one_line(tmp_path, bracket):
    (tmp_path / "a.json").write_text(bracket * 200_000)
    with pytest.raises(
        ValueError, match=r"a\.json is not JSON: its brackets are nested too deep; expected a COCO"
    ) as caught:
        read_marks(tmp_path / "a.json", IMAGES, CLASSES)
    assert "\n" not in str(caught.value)


EMPTY = {
    "coco.json": '{"images": [{"id": 1, "file_name": "1.png"}], "categories": [], "annotations": []}',
    "label_studio.json": '[{"id": 1, "data": {"image": "upload/5f3e1a2b-1.png"}, "annotations": [{"result": []}]}]',
    "cvat.xml": '<annotations><version>1.1</version><image id="0" name="1.png" width="8" height="6"/></annotations>',
    "labelme.json": '{"shapes": [], "imagePath": "1.png", "imageData": null, "imageHeight": 6, "imageWidth": 8}',
    "ann/1.png.json": '{"size": {"height": 6, "width": 8}, "tags": [], "objects": []}',
    "voc/1.xml": "<annotation><filename>1.png</filename><size><width>8</width><height>6</height></size></annotation>",
    "yolo/labels/1.txt": "",
}


@pytest.mark.parametrize("name", EMPTY)
def test_an_export_without_annotations_is_refused(tmp_path, name):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(EMPTY[name])
    if name.startswith("yolo"):
        (tmp_path / "yolo/data.yaml").write_text("names: [cat, dog]")
    path = tmp_path / name.partition("/")[0]
    with pytest.raises(
        ValueError, match=r"holds no mark that can be used \(it is empty\); expected images such as"
    ) as caught:
        read_marks(path, {"train/dog/1.png": (6, 8)}, ["cat", "dog"])
    assert "\n" not in str(caught.value)
