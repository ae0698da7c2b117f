import csv
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from looksharp.data.composite import Cutouts, compose, cutouts_of
from looksharp.data.folder import read_folder
from looksharp.data.hold_out import hold_out
from looksharp.data.sets.synthetic import handwriting
from looksharp.evaluation import evaluate
from looksharp.networks import SmallNet

SIZE = 24
SIZES = {"size": SIZE, "train": 400, "val": 40, "test": 200}
SMALL = {"size": SIZE, "train": 12, "val": 4, "test": 8}


@pytest.fixture(scope="module")
def backgrounds(tmp_path_factory):
    """Photographs of one dark shade each: of land 0, 1, ... in green, of sea 40, 41, ... in blue."""
    root = tmp_path_factory.mktemp("backgrounds")
    kinds = {"land": 1, "sea": 2}
    for kind, channel in kinds.items():
        (root / kind / "more").mkdir(parents=True)
        for number in range(9):
            pixels = np.zeros((SIZE + 10, SIZE + number, 3), np.uint8)
            pixels[..., channel] = 60
            pixels[..., 0] = 4 * number
            Image.fromarray(pixels).save(root / kind / ("more" if number > 6 else ".") / f"{number}.png")
    return {kind: root / kind for kind in kinds}


COLOURS = {"a": (1.0, 0.8, 0.0), "b": (0.8, 1.0, 1.0), "c": (1.0, 0.0, 1.0)}


@pytest.fixture(scope="module")
def squares():
    """Rectangles without soft edges, each foreground class of one colour, another shade for the test."""

    def cutouts(shade, classes):
        colours = [np.broadcast_to(np.float32(COLOURS[name]) * shade, (6, 8, 3)).copy() for name in classes]
        return Cutouts(colours, [np.ones((6, 8), np.float32)] * len(classes), classes)

    return {"train": cutouts(1.0, ["a", "b", "c", "a"]), "test": cutouts(0.8, ["c", "b", "a"])}


def read(path):
    with Image.open(path) as image:
        return np.asarray(image)


def table(out):
    with (out / "groups.csv").open(newline="") as file:
        return {row["path"]: row["group"] for row in csv.DictReader(file)}


def background_of(image):
    """The most common colour: its kind and the number of its photograph."""
    ((red, green, _),) = [colour for colour, _ in Counter(map(tuple, image.reshape(-1, 3).tolist())).most_common(1)]
    return "land" if green else "sea", red // 4


@pytest.fixture(scope="module")
def composed(squares, backgrounds, tmp_path_factory):
    out = tmp_path_factory.mktemp("composed") / "out"
    compose(out, squares, backgrounds, labels={"x": ["a", "b"], "y": ["c"]}, rho=0.9, **SIZES)
    return out


@pytest.fixture(scope="module")
def found(composed):
    """(split, label) -> (image, mask, group) of each image."""
    rows = {}
    for path, group in table(composed).items():
        split, label, _ = path.split("/")
        rows.setdefault((split, label), []).append((read(composed / path), read(composed / "masks" / path), group))
    return rows


def test_files(composed, found):
    assert {path.name for path in composed.iterdir()} == {
        "train",
        "val",
        "test_biased",
        "test_balanced",
        "masks",
        "cues",
        "groups.csv",
    }
    assert {key: len(rows) for key, rows in found.items()} == {
        (split, label): count // 2
        for split, count in {"train": 400, "val": 40, "test_biased": 200, "test_balanced": 200}.items()
        for label in ("x", "y")
    }
    images = {
        p.relative_to(composed).as_posix() for p in composed.rglob("*.png") if not {"masks", "cues"} & set(p.parts)
    }
    assert images == set(table(composed))
    assert len(list((composed / "masks").rglob("*.png"))) == len(images)
    for path in images:  # the cue is all that is not the foreground
        assert ((read(composed / "cues" / path) > 0) == (read(composed / "masks" / path) == 0)).all()
    assert [p.name for p in composed.parent.iterdir()] == ["out"]  # nothing half-done is left beside it
    for image, mask, _ in found["val", "x"]:
        assert image.shape == (SIZE, SIZE, 3)
        assert mask.shape == (SIZE, SIZE)
        assert set(np.unique(mask)) == {0, 255}


def test_groups_are_what_the_pictures_show(found):
    for (_, label), rows in found.items():
        for image, _, group in rows:
            assert group == f"{label} on {background_of(image)[0]}"


@pytest.mark.parametrize(("split", "rho"), [("train", 0.9), ("test_biased", 0.9), ("test_balanced", 0.5)])
def test_background_and_class_agree_as_often_as_asked(split, rho, found):
    own = {"x": "land", "y": "sea"}
    for label, kind in own.items():
        agreed = [group == f"{label} on {kind}" for _, _, group in found[split, label]]
        error = (rho * (1 - rho) / len(agreed)) ** 0.5
        assert abs(np.mean(agreed) - rho) < 3.5 * error


@pytest.mark.parametrize("rho", [0.0, 1.0])
def test_always_and_never(rho, squares, backgrounds, tmp_path):
    compose(tmp_path / "out", squares, backgrounds, rho=rho, **SMALL)
    own = {"a": "land", "b": "sea", "c": "land"}  # the third class has the first kind again
    biased = [(path, group) for path, group in table(tmp_path / "out").items() if "balanced" not in path]
    for path, group in biased:
        label = path.split("/")[1]
        assert (group == f"{label} on {own[label]}") == (rho == 1)


def test_training_and_test_share_no_photograph_and_no_foreground(found):
    shown = {}
    for (split, _), rows in found.items():
        for image, mask, _ in rows:
            pool = "test" if split.startswith("test") else "train"
            shown.setdefault(pool, set()).add(background_of(image))
            brightest = image[mask > 0].max()
            assert brightest == (204 if pool == "test" else 255)  # the shade of that pool's foregrounds
    for kind in ("land", "sea"):
        numbers = {pool: {n for k, n in seen if k == kind} for pool, seen in shown.items()}
        assert numbers == {"train": {1, 2, 4, 5, 7, 8}, "test": {0, 3, 6}}


def test_masks_cover_what_was_painted_and_nothing_else(found):
    for (split, label), rows in found.items():
        shade = 0.8 if split.startswith("test") else 1.0
        members = {"x": ("a", "b"), "y": ("c",)}[label]
        allowed = {tuple(round(255 * shade * value) for value in COLOURS[name]) for name in members}
        sides = []
        for image, mask, _ in rows:
            inside, outside = ({tuple(p) for p in image[where].tolist()} for where in (mask > 0, mask == 0))
            assert len(inside) == len(outside) == 1
            assert any(np.allclose(next(iter(inside)), colour, atol=1) for colour in allowed)
            rows_, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
            box = mask[rows_[0] : rows_[-1] + 1, columns[0] : columns[-1] + 1]
            assert box.all()
            assert box.shape[0] == pytest.approx(box.shape[1] * 6 / 8, abs=1)  # as wide and high as it was
            sides.append(box.shape[1])
        assert min(sides) >= round(0.45 * SIZE)
        assert max(sides) <= round(0.75 * SIZE)
        if len(rows) > 50:
            assert len(set(sides)) > 4  # drawn anew each time


def test_every_foreground_class_of_a_label_is_used(found):
    colours = {tuple(image[mask > 0][0].tolist()) for image, mask, _ in found["train", "x"]}
    assert len(colours) == 2


def test_strokes_are_light_and_soft_edged(backgrounds, tmp_path):
    labels = {"small": "01234", "large": "56789"}
    settings = SMALL | {"train": 40, "size": 48}
    compose(tmp_path / "out", cutouts_of("digits"), backgrounds, labels=labels, **settings)
    for path in (tmp_path / "out" / "train").rglob("*.png"):
        image = read(path).astype(float)
        mask = read(tmp_path / "out" / "masks" / path.relative_to(tmp_path / "out")) > 0
        background = np.median(image.reshape(-1, 3), 0)
        change = np.abs(image - background).max(-1) / 255
        assert change[mask].max() > 0.5
        assert change[mask].min() >= 0.25 * (0.7 - 60 / 255) - 0.01  # opaque by a quarter or more
        assert change[~mask].max() <= 0.25 + 0.01
        assert 0.01 < mask.mean() < 0.5


def test_the_seed_determines_every_byte(squares, backgrounds, tmp_path):
    contents = []
    for number, seed in enumerate((5, 5, 6)):
        out = tmp_path / str(number)
        compose(out, squares, backgrounds, **SMALL, seed=seed)
        contents.append({p.relative_to(out): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()})
    assert contents[0] == contents[1]
    assert contents[0].keys() == contents[2].keys()
    assert contents[0] != contents[2]


def test_it_is_an_image_folder_with_masks_and_groups(composed, found):
    data = hold_out(read_folder(composed))
    assert data.classes == ("x", "y")
    assert list(data.splits) == ["train", "val", "test_balanced", "test_biased"]
    assert data.pixels.size == (SIZE, SIZE)
    assert set(data.group_names) == {f"{label} on {kind}" for label in "xy" for kind in ("land", "sea")}
    split = data.splits["test_balanced"]
    assert len(split.marks) == len(split) == 200
    counts = Counter(group for rows in (found["test_balanced", label] for label in "xy") for *_, group in rows)
    assert Counter(data.group_names[group] for group in split.groups.tolist()) == counts
    torch.manual_seed(0)
    values = evaluate(SmallNet(2, width=4).eval(), split, data.pixels).values
    assert {"worst_group", "attention_inside"} <= values.keys()
    assert values["worst_group"] <= values["top1"]


# Foregrounds -----------------------------------------------------------------------------------------------------


def test_digits_are_divided_by_handwriting():
    digits = cutouts_of("digits")
    for split in ("train", "test"):
        strokes, labels = handwriting(split)
        assert digits[split].classes == [str(label) for label in labels]
        assert np.array_equal(np.stack(digits[split].opacity), strokes)
        assert set(digits[split].colours) == {None}
    assert len(digits["train"].classes) + len(digits["test"].classes) < 1797  # those for validation stay apart


@pytest.fixture
def objects(tmp_path):
    """An image folder with masks: of class a a small square, of class b a bar."""
    rng = np.random.default_rng(0)
    root = tmp_path / "objects"
    boxes = {"a": (slice(3, 8), slice(10, 15)), "b": (slice(2, 14), slice(4, 7))}
    for split in ("train", "test"):
        for label, box in boxes.items():
            for number in range(4):
                pixels = rng.integers(0, 255, (16, 20, 3), dtype=np.uint8)
                mask = np.zeros((16, 20), np.uint8)
                mask[box] = 255
                for folder, content in ((root, pixels), (root / "masks", mask)):
                    path = folder / split / label / f"{number}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(content).save(path)
    return root, boxes


def test_objects_are_cut_out_of_a_folder(objects):
    root, boxes = objects
    found = cutouts_of(str(root))
    assert sorted(found) == ["test", "train"]
    assert Counter(found["test"].classes) == {"a": 4, "b": 4}
    assert Counter(found["train"].classes).keys() == {"a", "b"}
    images = [read(path) for path in sorted((root / "test").rglob("*.png"))]
    for image, label, colours, opacity in zip(
        images, found["test"].classes, found["test"].colours, found["test"].opacity, strict=True
    ):
        np.testing.assert_allclose(colours * 255, image[boxes[label]], atol=1e-4)
        assert opacity.shape == colours.shape[:2]
        assert (opacity == 1).all()


def test_errors_of_foregrounds(tmp_path, backgrounds):
    with pytest.raises(ValueError, match="foregrounds mnist need --root: the folder that holds MNIST/raw"):
        cutouts_of("mnist")
    with pytest.raises(ValueError, match=f"mnist was not found whole in {tmp_path}"):
        cutouts_of("mnist", tmp_path)
    with pytest.raises(ValueError, match="data folder nowhere does not exist"):
        cutouts_of("nowhere")
    plain = next(iter(backgrounds.values())).parent
    with pytest.raises(ValueError, match="foregrounds from a folder need masks: FOLDER/masks"):
        cutouts_of(str(plain))


# Errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rho": 1.5}, r"rho must be a probability, 0 to 1; got 1\.5"),
        ({"rho": -0.1}, r"rho must be a probability, 0 to 1; got -0\.1"),
        ({"labels": {"x": ["a"], "y": ["zebra"]}}, "label 'y' names 'zebra', which is no foreground class: a, b, c"),
        ({"labels": {"x": ["a"], "y": []}}, "label 'y' has no foreground for train"),
        ({"labels": {"x": ["a", "b", "c"]}}, "labels must be at least two classes; got x"),
        ({"size": 0}, "size must be at least 1 pixel; got 0"),
        ({"size": 1_000_000}, "size must be at most 8,192 pixels; got 1,000,000"),
        ({"labels": {"/abs/path": ["a"], "y": ["b"]}}, "class '/abs/path' cannot have a folder of its name"),
        ({"labels": {"../../x": ["a"], "y": ["b"]}}, r"class '\.\./\.\./x' cannot have a folder of its name"),
        ({"labels": {"a/b": ["a"], "y": ["b"]}}, "class 'a/b' cannot have a folder of its name"),
        ({"labels": {"a\\b": ["a"], "y": ["b"]}}, "cannot have a folder of its name"),
        ({"labels": {".": ["a"], "y": ["b"]}}, r"class '\.' cannot have a folder of its name"),
        ({"labels": {"..": ["a"], "y": ["b"]}}, r"class '\.\.' cannot have a folder of its name"),
        ({"labels": {"": ["a"], "y": ["b"]}}, "class '' cannot have a folder of its name"),
        ({"labels": {".hidden": ["a"], "y": ["b"]}}, r"class '\.hidden' cannot have a folder of its name"),
        ({"labels": {"a\0b": ["a"], "y": ["b"]}}, "cannot have a folder of its name"),
        ({"labels": {"two\nlines": ["a"], "y": ["b"]}}, r"class 'two\\nlines' cannot have a folder of its name"),
        ({"labels": {"a" * 300: ["a"], "y": ["b"]}}, r"class 'a+'\.\.\. has a name of 300 characters, too many"),
        ({"train": 2}, "train must have an image of each of the 3 classes; got 2"),
        ({"val": 0}, "val must have an image of each of the 3 classes; got 0"),
        ({"test": 2}, "test_biased must have an image of each of the 3 classes; got 2"),
    ],
)
def test_settings_that_cannot_be(values, message, squares, backgrounds, tmp_path):
    with pytest.raises(ValueError, match=message):
        compose(tmp_path / "out", squares, backgrounds, **SMALL | values)
    assert list(tmp_path.iterdir()) == []


def test_backgrounds_that_cannot_be(squares, backgrounds, tmp_path):
    land = backgrounds["land"]
    few, damaged = tmp_path / "few", tmp_path / "damaged"
    for folder in (few, damaged):
        folder.mkdir()
        for number in range(2):
            Image.new("RGB", (30, 30)).save(folder / f"{number}.png")
    for number in range(2, 9):
        (damaged / f"{number}.png").write_bytes(b"no image")
    before = set(tmp_path.iterdir())
    for kinds, message in [
        ({"land": land}, "backgrounds must be of at least two kinds, KIND=FOLDER each; got 1"),
        ({"land": land, "sea": tmp_path / "sea"}, "background folder .*sea does not exist"),
        ({"land": land, "sea": few}, "background folder .*few must hold at least three photographs; found 2"),
        ({"land": land, "sea": damaged}, r"damaged/\d\.png cannot be read as an image"),
    ]:
        with pytest.raises(ValueError, match=message):
            compose(tmp_path / "out", squares, kinds, **SMALL)
        assert set(tmp_path.iterdir()) == before


def test_a_class_that_one_pool_lacks(squares, backgrounds, tmp_path):
    train = squares["train"]
    lacking = {"train": train, "test": Cutouts(train.colours[:2], train.opacity[:2], train.classes[:2])}
    with pytest.raises(ValueError, match="label 'c' has no foreground for test: none of c"):
        compose(tmp_path / "out", lacking, backgrounds, **SMALL)


def test_a_folder_that_exists_is_left_alone(squares, backgrounds, tmp_path):
    (tmp_path / "kept").touch()
    with pytest.raises(ValueError, match=f"{tmp_path} exists already; choose another --out"):
        compose(tmp_path, squares, backgrounds, **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
