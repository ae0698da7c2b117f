"""What every format of marks promises, plugins' included: the right pixels, and errors of one line.

`WRITERS` writes one mark in the true on-disk form. A plugin's format has its own beside it, in the same form, called
`WRITERS` too.
"""

import base64
import io
import json
import math
import re
import sys
import tempfile
import zlib
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from looksharp.marks.mark_format import MARK_FORMATS
from looksharp.marks.reading import format_of, read_marks

IMAGE, SIZE, LABEL = "train/dog/1.png", (6, 8), "dog"
IMAGES = {IMAGE: SIZE, "train/cat/2.png": (7, 5)}
CLASSES = ["cat", "dog"]
BOX = (2, 1, 6, 4)  # left, top, right, bottom


def drawn(picture):
    return np.array([[character == "#" for character in line] for line in picture.split()])


BOXED = drawn("........ ..####.. ..####.. ..####.. ........ ........")
PAINTED = drawn("........ ..###... ..#.#... ..###... .......# ........")


def png(pixels, **options):
    buffer = io.BytesIO()
    pixels.save(buffer, "PNG", **options)
    return buffer.getvalue()


def corners(box):
    left, top, right, bottom = box
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def shares(box, size):
    return [value / size[(place + 1) % 2] for place, value in enumerate(box)]


def runs(pixels):
    """The lengths of zeros and ones in turn, zeros first."""
    flat = [False, *pixels.tolist()]
    ends = [place for place in range(1, len(flat)) if flat[place] != flat[place - 1]] + [len(flat)]
    return [end - start for start, end in zip([1, *ends[:-1]], ends, strict=True)]


def write(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def coco(folder, size, label, **region):
    content = {
        "images": [{"id": 7, "file_name": IMAGE, "height": size[0], "width": size[1]}],
        "categories": [{"id": 48, "name": label}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 48, "iscrowd": 0} | region],
    }
    return write(folder, "instances.json", json.dumps(content))


def coco_box(folder, size, label, box):
    return coco(folder, size, label, bbox=[box[0], box[1], box[2] - box[0], box[3] - box[1]])


def coco_polygon(folder, size, label, box):
    return coco(folder, size, label, segmentation=[[value for point in corners(box) for value in point]])


def coco_mask(folder, size, label, mask):
    return coco(folder, size, label, segmentation={"size": list(mask.shape), "counts": runs(mask.T.ravel())})


def cvat(folder, size, label, shape):
    image = f'<image id="0" name="{IMAGE}" width="{size[1]}" height="{size[0]}">{shape}</image>'
    return write(folder, "annotations.xml", f"<annotations><version>1.1</version>{image}</annotations>")


def cvat_box(folder, size, label, box):
    left, top, right, bottom = box
    return cvat(folder, size, label, f'<box label="{label}" xtl="{left}" ytl="{top}" xbr="{right}" ybr="{bottom}"/>')


def cvat_polygon(folder, size, label, box):
    points = ";".join(f"{x},{y}" for x, y in corners(box))
    return cvat(folder, size, label, f'<polygon label="{label}" points="{points}"></polygon>')


def cvat_mask(folder, size, label, mask):
    rle, (height, width) = ", ".join(map(str, runs(mask.ravel()))), mask.shape
    shape = f'<mask label="{label}" rle="{rle}" left="0" top="0" width="{width}" height="{height}"/>'
    return cvat(folder, size, label, shape)


def labelme(folder, size, label, **shape):
    content = {
        "version": "5.5.0",
        "shapes": [{"label": label, "group_id": None, "flags": {}, "mask": None} | shape],
        "imagePath": IMAGE,
        "imageData": base64.b64encode(png(Image.new("RGB", (size[1], size[0])))).decode(),
        "imageHeight": size[0],
        "imageWidth": size[1],
    }
    return write(folder, "1.json", json.dumps(content))


def labelme_box(folder, size, label, box):
    return labelme(folder, size, label, shape_type="rectangle", points=[list(box[:2]), list(box[2:])])


def labelme_polygon(folder, size, label, box):
    return labelme(folder, size, label, shape_type="polygon", points=corners(box))


def labelme_mask(folder, size, label, mask):
    points = [[0, 0], [mask.shape[1] - 1, mask.shape[0] - 1]]
    content = base64.b64encode(png(Image.fromarray(mask))).decode()
    return labelme(folder, size, label, shape_type="mask", points=points, mask=content)


def label_studio(folder, size, kind, value):
    result = {
        "original_height": size[0],
        "original_width": size[1],
        "image_rotation": 0,
        "value": value,
        "id": "a1",
        "from_name": "label",
        "to_name": "image",
        "type": kind,
        "origin": "manual",
    }
    task = {"id": 1, "data": {"image": f"/data/local-files/?d=pets/{IMAGE}"}, "annotations": [{"result": [result]}]}
    return write(folder, "project-1.json", json.dumps([task]))


def label_studio_box(folder, size, label, box):
    left, top, right, bottom = (100 * share for share in shares(box, size))
    value = {"x": left, "y": top, "width": right - left, "height": bottom - top, "rotation": 0}
    return label_studio(folder, size, "rectanglelabels", value | {"rectanglelabels": [label]})


def label_studio_polygon(folder, size, label, box):
    points = [[100 * x / size[1], 100 * y / size[0]] for x, y in corners(box)]
    return label_studio(folder, size, "polygonlabels", {"points": points, "polygonlabels": [label], "closed": True})


def label_studio_mask(folder, size, label, mask):
    """The bits by hand: no run is used but those of one length, as for a picture full of noise."""
    values = np.repeat(mask.ravel().astype(int) * 255, 4).tolist()  # RGBA
    bits = f"{len(values):032b}{7:05b}" + "".join(f"{length - 1:04b}" for length in (3, 4, 8, 16))
    for value in values:
        bits += "1" + "00" + "000" + f"{value:08b}"
    bits += "0" * (-len(bits) % 8)
    rle = [int(bits[start : start + 8], 2) for start in range(0, len(bits), 8)]
    return label_studio(folder, size, "brushlabels", {"format": "rle", "rle": rle, "brushlabels": [label]})


def mask_file(folder, size, label, mask):
    write(folder, f"masks/{IMAGE}", png(Image.fromarray(mask.astype(np.uint8) * 255)))
    return folder / "masks"


def supervisely(folder, size, label, kind, **geometry):
    entry = {"classTitle": label, "geometryType": kind, "points": {"exterior": [], "interior": []}, "tags": []}
    content = {"size": {"height": size[0], "width": size[1]}, "tags": [], "objects": [entry | geometry]}
    write(folder, "pets/meta.json", json.dumps({"classes": [{"title": label}], "tags": []}))
    write(folder, "pets/train/dog/ann/1.png.json", json.dumps(content))
    return folder / "pets"


def supervisely_box(folder, size, label, box):
    ends = {"exterior": [[box[0], box[1]], [box[2] - 1, box[3] - 1]], "interior": []}
    return supervisely(folder, size, label, "rectangle", points=ends)


def supervisely_polygon(folder, size, label, box):
    return supervisely(folder, size, label, "polygon", points={"exterior": corners(box), "interior": []})


def supervisely_mask(folder, size, label, mask):
    picture = Image.fromarray(mask.astype(np.uint8))
    picture.putpalette([0, 0, 0, 255, 255, 255])
    data = base64.b64encode(zlib.compress(png(picture, transparency=0))).decode()
    return supervisely(folder, size, label, "bitmap", bitmap={"data": data, "origin": [0, 0]})


def voc_box(folder, size, label, box):
    edges = dict(zip(("xmin", "ymin", "xmax", "ymax"), (box[0] + 1, box[1] + 1, box[2], box[3]), strict=True))
    shape = "".join(f"<{name}>{float(value)}</{name}>" for name, value in edges.items())
    sides = f"<size><width>{size[1]}</width><height>{size[0]}</height><depth>3</depth></size>"
    entry = f"<object><name>{label}</name><difficult>0</difficult><bndbox>{shape}</bndbox></object>"
    write(folder, "VOC2012/Annotations/1.xml", f"<annotation>{sides}{entry}</annotation>")
    return folder / "VOC2012"


def voc_mask(folder, size, label, mask):
    picture = Image.fromarray(mask.astype(np.uint8) * 12)  # dog is the twelfth class
    picture.putpalette([0, 0, 0] + [128, 0, 0] * 255)
    write(folder, "VOC2012/SegmentationClass/1.png", png(picture))
    return folder / "VOC2012"


def yolo(folder, label, numbers):
    write(folder, "labels/train/dog/1.txt", f"1 {' '.join(map(str, numbers))}\n")
    return write(folder, "data.yaml", f"names:\n  0: bird\n  1: {label}\n").parent


def yolo_box(folder, size, label, box):
    left, top, right, bottom = shares(box, size)
    return yolo(folder, label, [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top])


def yolo_polygon(folder, size, label, box):
    return yolo(folder, label, [share for x, y in corners(box) for share in (x / size[1], y / size[0])])


WRITERS = {
    "coco": {"box": coco_box, "polygon": coco_polygon, "mask": coco_mask},
    "cvat": {"box": cvat_box, "polygon": cvat_polygon, "mask": cvat_mask},
    "labelme": {"box": labelme_box, "polygon": labelme_polygon, "mask": labelme_mask},
    "label_studio": {"box": label_studio_box, "polygon": label_studio_polygon, "mask": label_studio_mask},
    "mask_files": {"mask": mask_file},
    "supervisely": {"box": supervisely_box, "polygon": supervisely_polygon, "mask": supervisely_mask},
    "voc": {"box": voc_box, "mask": voc_mask},
    "yolo": {"box": yolo_box, "polygon": yolo_polygon},
}
REFUSED = {"roboflow"}  # known by name alone
UNSIZED = {("mask_files", "mask"), ("voc", "mask"), ("yolo", "box"), ("yolo", "polygon")}  # do not say their image's
FIXED = {("mask_files", "mask"), ("voc", "mask")}  # have classes of their own


def writers_of(name):
    return WRITERS.get(name) or sys.modules[MARK_FORMATS[name].__module__].WRITERS


ALL = [(name, kind) for name in sorted(set(MARK_FORMATS) - REFUSED) for kind in writers_of(name)]


def written(name, kind, folder, size=SIZE, label=LABEL, box=BOX, mask=PAINTED):
    return writers_of(name)[kind](folder, size, label, mask if kind == "mask" else box)


def refused(path):
    with pytest.raises(ValueError, match=r".") as caught:
        read_marks(path, IMAGES, CLASSES)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(("name", "kind"), ALL)
def test_the_right_pixels(name, kind, tmp_path):
    found = read_marks(written(name, kind, tmp_path), IMAGES, CLASSES)
    assert [(mark.image, mark.label) for mark in found.marks] == [(IMAGE, LABEL)]
    np.testing.assert_array_equal(found.marks[0].mask, PAINTED if kind == "mask" else BOXED)
    assert found.skipped == {}


@pytest.mark.parametrize(("name", "kind"), ALL)
def test_it_alone_recognises_its_files(name, kind, tmp_path):
    path = written(name, kind, tmp_path)
    assert type(format_of(path)) is MARK_FORMATS[name]
    surely = [
        other for other in MARK_FORMATS if not MARK_FORMATS[other].fallback and MARK_FORMATS[other]().matches(path)
    ]
    assert surely == ([] if MARK_FORMATS[name].fallback else [name])


@pytest.mark.parametrize(("name", "kind"), [case for case in ALL if case not in FIXED])
def test_another_class_is_counted(name, kind, tmp_path):
    message = refused(written(name, kind, tmp_path, label="person"))
    assert "class not in the data: 1 (first 'person' in " in message


@pytest.mark.parametrize(("name", "kind"), [case for case in ALL if case[1] != "mask"])
def test_outside_the_image_is_refused(name, kind, tmp_path):
    message = refused(written(name, kind, tmp_path, box=(12, 1, 16, 4)))
    assert f"lies wholly outside the image {IMAGE} of 6x8 pixels" in message
    assert str(tmp_path) in message


@pytest.mark.parametrize(("name", "kind"), [case for case in ALL if case[1] != "mask"])
def test_over_the_edge_is_clipped_and_counted(name, kind, tmp_path):
    found = read_marks(written(name, kind, tmp_path, box=(6, -2, 11, 2)), IMAGES, CLASSES)
    np.testing.assert_array_equal(found.marks[0].mask, drawn("......## ......## ........ ........ ........ ........"))
    assert found.skipped == {"clipped to the image": 1}


@pytest.mark.parametrize(("name", "kind"), [case for case in ALL if case not in UNSIZED])
def test_an_image_of_another_size_is_refused(name, kind, tmp_path):
    mask = np.kron(PAINTED, np.ones((2, 2), dtype=bool))
    message = refused(written(name, kind, tmp_path, size=(12, 16), mask=mask))
    assert "is for an image of 12x16 pixels (height x width), but the image train/dog/1.png has 6x8" in message


@pytest.mark.parametrize(("name", "kind"), ALL)
def test_damaged_files_are_named(name, kind, tmp_path):
    path = written(name, kind, tmp_path)
    files = [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file() and f.name != "meta.json"]
    for file in files:
        content = file.read_bytes()
        file.write_bytes(content[: math.ceil(len(content) / 3)] + b"\xff\x00\xfe")
        assert file.name in refused(path)
        file.write_bytes(content)


@pytest.mark.parametrize("name", sorted(MARK_FORMATS))
def test_it_says_what_it_takes_and_leaves_other_paths_alone(name, tmp_path):
    format = MARK_FORMATS[name]()
    assert format.takes
    assert "\n" not in format.takes
    write(tmp_path, "other/notes.docx", b"\x00")
    assert not format.matches(tmp_path / "other" / "notes.docx")
    assert format.fallback or not format.matches(tmp_path / "other")


# Damage: whatever the bytes and fields, marks or an error of one line -----------------------------------------------

NASTY = [
    None,
    True,
    -1,
    0,
    10**7,
    10**400,
    1e308,
    1e-300,
    math.inf,
    math.nan,
    "",
    "48",
    "a\nb",
    "..",
    [],
    [[]],
    {},
    [None],
]
WORDS = [*map(str, NASTY), "1e999", "-3", "0.5 0.5", "\x00", "é" * 9, "/", "&lt;"]
LEAF = re.compile(r"-?\d+\.?\d*(?:[eE][+-]?\d+)?|\w+")


def places(content, path=()):
    """The paths to everything inside a JSON value."""
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in inner:
        yield (*path, key)
        yield from places(value, (*path, key))


def with_another_field(content, draw):
    """A JSON file with one value changed or gone, or another file with one word changed."""
    try:
        value = json.loads(content)
        *above, last = draw(st.sampled_from(list(places(value))))
    except ValueError:
        words = list(LEAF.finditer(content.decode("latin-1")))
        word = draw(st.sampled_from(words))
        other = draw(st.sampled_from(WORDS)).encode("utf-8")
        return content[: word.start()] + other + content[word.end() :]
    holder = value
    for key in above:
        holder = holder[key]
    if draw(st.integers(0, 5)):
        holder[last] = draw(st.sampled_from(NASTY))
    else:
        del holder[last]
    return json.dumps(value).encode()


def with_other_bytes(content, draw):
    """A file cut short, with some bytes changed, doubled or left out, or with noise in it."""
    start = draw(st.integers(0, len(content)))
    end = draw(st.integers(start, min(start + 40, len(content))))
    between = draw(st.one_of(st.binary(max_size=8), st.just(content[start:end] * 3)))
    return content[:start] + between + (content[end:] if draw(st.booleans()) else b"")


@pytest.mark.parametrize("damage", [with_another_field, with_other_bytes])
@pytest.mark.parametrize(("name", "kind"), ALL)
@settings(max_examples=60, deadline=timedelta(seconds=20), derandomize=True, database=None, print_blob=False)
@given(data=st.data())
def test_damage_gives_marks_or_an_error_of_one_line(name, kind, damage, data):
    with tempfile.TemporaryDirectory() as folder:
        path = written(name, kind, Path(folder))
        files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file())
        file = data.draw(st.sampled_from(files))
        file.write_bytes(damage(file.read_bytes(), data.draw))
        try:
            told, marks = folder, read_marks(path, IMAGES, CLASSES).marks
        except (ValueError, OSError) as error:
            told, marks = str(error), ()
        assert folder in told
        assert "\n" not in told
        assert all(mark.mask.shape == IMAGES[mark.image] and mark.mask.any() for mark in marks)
