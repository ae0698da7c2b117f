import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from looksharp import cli
from looksharp.data.build import DataConfig, build_data
from looksharp.data.seed_folder import read_seed_folder
from looksharp.data.sets import seeded
from looksharp.data.split import Data, Pixels
from looksharp.data.splits.files import FileSplit
from looksharp.data.splits.memory import TensorSplit
from looksharp.evaluation.true_labels import true_labels
from looksharp.marks.class_images import read_class_image
from looksharp.marks.marks import Marks
from looksharp.marks.regions import ClassMask, MadeMasks
from looksharp.segmentation import make_seeds, seeds
from looksharp.segmentation.preset import sec_settings
from looksharp.segmentation.seed_rule import background_seeds, seed_labels
from looksharp.segmentation.seeds import true_classes
from looksharp.segmentation.settings import SeedSettings
from looksharp.segmentation.whole_maps import WholeMaps
from looksharp.training.data import moved_data
from looksharp.training.folder import load_run
from looksharp.training.settings import RunConfig


def settings(run, out, **others):
    return SeedSettings(run, out, device="cpu", workers=0, batch_size=5, **others)


def files(folder):
    return {path.name: path.read_bytes() for path in (folder / "masks").iterdir()}


def test_seeds_are_the_rule_applied_to_maps(run, few, tmp_path):
    made = settings(run, tmp_path, mechanism="grad_cam_pp", scales=(1.0, 1.5), mirror=True)
    table = make_seeds(made, progress=False)
    loaded, split = load_run(run, device="cpu"), few.splits["train"]
    images = few.pixels.normalize(split.images[7:8])
    maps, saliency = WholeMaps(loaded.model, "grad_cam_pp", None, (1.0, 1.5), True, True, 0.25).of(
        images, split.targets[7:8, None]
    )
    expected = seed_labels(maps[0], [int(split.targets[7])], background_seeds(saliency[0]))
    found = read_class_image(tmp_path / "masks" / "7.png", 10)
    assert (found == expected).float().mean() > 0.99  # but for rounding in batches
    assert len(files(tmp_path)) == 24
    assert (table.images, table.masked, table.remarks) == (24, 24, {})
    assert table.share.sum() > 0.1
    rows = (tmp_path / "seeds.csv").read_text().splitlines()
    assert rows[0] == "class,share,precision,recall"
    assert len(rows) == 1 + 11 + 1
    assert rows[-1].startswith("all,")


def test_it_goes_on_where_it_stopped(run, tmp_path, monkeypatch):
    whole = tmp_path / "whole"
    make_seeds(settings(run, whole), progress=False)
    part, times = tmp_path / "part", []
    write = seeds.write_class_image

    def stops(path, labels):
        if len(times) == 8:
            raise KeyboardInterrupt
        times.append(path)
        write(path, labels)

    with monkeypatch.context() as patch:
        patch.setattr(seeds, "write_class_image", stops)
        with pytest.raises(KeyboardInterrupt):
            make_seeds(settings(run, part), progress=False)
    assert len(files(part)) == 8
    before = {path: path.stat().st_mtime_ns for path in times}
    make_seeds(settings(run, part), progress=False)
    assert {path: path.stat().st_mtime_ns for path in times} == before
    found, expected = files(part), files(whole)
    assert found.keys() == expected.keys()
    same = [found[name] == expected[name] for name in expected]
    assert sum(same) >= len(same) - 1  # other batches, other rounding
    with pytest.raises(
        ValueError, match=r"holds seeds that were made in another way \(threshold\); choose another --out"
    ):
        make_seeds(settings(run, part, threshold=0.5), progress=False)


class Sees(nn.Module):
    """A classifier whose last map of class c is the c-th channel of the image, which shows where the class is."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 3, 1, bias=False)
        self.down = nn.Conv2d(3, 3, 2, 2, bias=False)
        self.head = nn.Linear(3, 3, bias=False)
        with torch.no_grad():
            self.stem.weight.copy_(torch.eye(3)[:, :, None, None])
            self.down.weight.copy_(torch.eye(3)[:, :, None, None].expand(-1, -1, 2, 2) / 4)
            self.head.weight.copy_(torch.eye(3))

    def forward(self, images):
        return self.head(self.down(self.stem(images)).mean((2, 3)))


@pytest.fixture
def seeing(run, monkeypatch):
    """A run of that classifier, on images of one or two classes whose masks are known."""
    images, targets = torch.zeros(4, 3, 16, 16, dtype=torch.uint8), torch.zeros(4, 3)
    places = [(0, 0, slice(0, 6), slice(2, 10)), (1, 1, slice(4, 8), slice(4, 8)), (1, 2, slice(10, 16), slice(0, 6))]
    masks = []
    for image, label, rows, columns in places:
        images[image, label, rows, columns] = 255
        targets[image, label] = 1
        mask = torch.zeros(16, 16, dtype=torch.bool)
        mask[rows, columns] = True
        masks.append(mask)
    images[2, 0, :8], targets[2, 0] = 255, 1
    masks.append(images[2, 0] > 0)
    marks = Marks([*(place[0] for place in places), 2], [*(place[1] for place in places), 0], masks)
    split = TensorSplit(targets=targets, marks=marks, images=images)
    pixels = Pixels((16, 16), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    data = Data("made", ("a", "b", "c"), {"train": split, "val": split}, pixels, "none")
    loaded = replace(load_run(run, device="cpu"), model=Sees().eval(), classes=data.classes, pixels=pixels)
    monkeypatch.setattr(seeds, "load_run", lambda *_: loaded)
    monkeypatch.setattr(seeds, "build_data", lambda *_: data)
    return data


def test_a_classifier_that_attends_the_mask_has_perfect_seeds(seeing, run, tmp_path):
    made = settings(run, tmp_path, layer="stem", background="maps", background_share=0.2)
    table = make_seeds(made, progress=False)
    assert table.precision.tolist() == pytest.approx([1.0] * 4)
    assert table.recall.tolist() == pytest.approx([1.0] * 4)
    assert table.share.sum() == pytest.approx(3 / 4)  # the fourth image is of no class
    assert table.remarks == {"images without any seed (of no class, or with maps of zeros)": 1}
    assert "note: images without any seed" in str(table)
    assert read_class_image(tmp_path / "masks" / "3.png", 3).eq(255).all()


def test_a_folder_of_saliency_maps(seeing, run, tmp_path):
    folder = tmp_path / "salient"
    folder.mkdir()
    for name in range(3):
        saliency = np.full((16, 16), 200, dtype=np.uint8)
        saliency[12:, 12:] = 0
        Image.fromarray(saliency).save(folder / f"{name}.png")
    made = settings(run, tmp_path / "out", layer="stem", background=str(folder), background_share=0.05)
    with pytest.raises(ValueError, match=r"salient has no saliency map 3\.png, for 3$"):
        make_seeds(made, progress=False)
    Image.fromarray(np.zeros((8, 16), dtype=np.uint8)).save(folder / "3.png")
    with pytest.raises(ValueError, match=r"3\.png has 8 x 16 px, but its image has 16 x 16$"):
        make_seeds(made, progress=False)
    Image.fromarray(np.zeros((16, 16), dtype=np.uint8)).save(folder / "3.png")
    make_seeds(made, progress=False)
    assert (read_class_image(tmp_path / "out" / "masks" / "0.png", 3) == 0).nonzero().min() == 12


def test_seeds_are_the_marks_of_training_images(run, few, tmp_path):
    make_seeds(settings(run, tmp_path), progress=False)
    data = build_data(DataConfig(f"seeds:{tmp_path}"))
    train = data.splits["train"]
    assert torch.equal(train.images, few.splits["train"].images)
    assert data.splits["test"].marks is not None
    labels = read_class_image(tmp_path / "masks" / "3.png", 10)
    found = dict(train.marks.of(3))
    assert found.keys() == {int(train.targets[3]), 10}  # its class, and the background behind the last
    assert torch.equal(found[10], labels == 0)
    assert torch.equal(found[int(train.targets[3])], labels == 1 + train.targets[3])


def test_the_images_of_seeds_may_be_moved(run, few, tmp_path, monkeypatch):
    make_seeds(settings(run, tmp_path), progress=False)
    facts = json.loads((tmp_path / "seeds.json").read_text())
    facts["data"]["root"] = "/before"
    (tmp_path / "seeds.json").write_text(json.dumps(facts))
    asked = []
    monkeypatch.setattr(seeded, "build_data", lambda config, seed: asked.append(str(config.root)) or few)
    build_data(DataConfig(f"seeds:{tmp_path}"))
    config = RunConfig.from_flat(sec_settings(tmp_path, {"backbone": "small"}, root=Path("/after")))
    build_data(config.data)
    build_data(moved_data(config.data, root="/later"))
    assert asked == ["/before", "/after", "/later"]


def test_folders_of_seeds_that_do_not_fit(run, tmp_path):
    with pytest.raises(
        ValueError, match=r"is no folder of seeds: it has no seeds\.json; make it with looksharp seeds$"
    ):
        build_data(DataConfig(f"seeds:{tmp_path}"))
    make_seeds(settings(run, tmp_path), progress=False)
    file = tmp_path / "masks" / "3.png"
    Image.fromarray(np.zeros((40, 48), dtype=np.uint8)).save(file)
    with pytest.raises(ValueError, match=r"3\.png has 40 x 48 px, but its image 3 has 48 x 48$"):
        build_data(DataConfig(f"seeds:{tmp_path}"))
    Image.fromarray(np.full((48, 48), 77, dtype=np.uint8)).save(file)
    with pytest.raises(ValueError, match=r"3\.png must hold indices 0 to 10 of classes, or 255; got index 77$"):
        build_data(DataConfig(f"seeds:{tmp_path}"))
    file.unlink()
    with pytest.raises(ValueError, match=r"has no seeds of 3; the same looksharp seeds goes on with it$"):
        build_data(DataConfig(f"seeds:{tmp_path}"))
    (tmp_path / "seeds.json").write_text("{}")
    with pytest.raises(ValueError, match=r"seeds\.json is damaged; make the seeds again with looksharp seeds$"):
        build_data(DataConfig(f"seeds:{tmp_path}"))


@pytest.mark.parametrize("change", [{"classes": [f"class {n}" for n in range(10)]}, {"split": "night"}], ids=repr)
def test_seeds_of_other_images_than_the_data_sets(change, run, few, tmp_path):
    make_seeds(settings(run, tmp_path), progress=False)
    facts = json.loads((tmp_path / "seeds.json").read_text())
    (tmp_path / "seeds.json").write_text(json.dumps(facts | change))
    message = rf"^{re.escape(str(tmp_path))}/seeds\.json is of other images than digits: classes or splits differ$"
    with pytest.raises(ValueError, match=message):
        build_data(DataConfig(f"seeds:{tmp_path}"))


def test_images_of_any_size_have_seeds_of_their_own_size(run, few, tmp_path, monkeypatch):
    sizes = {"a.png": (40, 70), "deep/b.png": (33, 20)}
    for name, size in sizes.items():
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)).save(
            tmp_path / "images" / name
        )
    split = FileSplit(targets=torch.tensor([3, 4]), root=tmp_path / "images", paths=list(sizes))
    monkeypatch.setattr(seeds, "build_data", lambda *_: replace(few, splits={"train": split, "val": split}))
    table = make_seeds(settings(run, tmp_path / "out"), progress=False)
    assert "no image has masks" in str(table)
    assert table.precision.isnan().all()
    for name, size in sizes.items():
        assert read_class_image(tmp_path / "out" / "masks" / name, 10).shape == size
    marks = seeded.seed_marks(read_seed_folder(tmp_path / "out"), split)
    for place, name in enumerate(sizes):
        labels, found = read_class_image(tmp_path / "out" / "masks" / name, 10), dict(marks.of(place))
        assert {(label + 1) % 11 for label in found} == set(labels.unique().tolist()) - {255}
        assert all(torch.equal(mask, labels == (label + 1) % 11) for label, mask in found.items())


def test_two_images_of_one_name_are_refused(run, few, tmp_path, monkeypatch):
    for name in ("a.png", "a.jpg"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    split = FileSplit(targets=torch.tensor([3, 4]), root=tmp_path, paths=["a.jpg", "a.png"])
    monkeypatch.setattr(seeds, "build_data", lambda *_: replace(few, splits={"train": split, "val": split}))
    with pytest.raises(ValueError, match=r"^a\.jpg and a\.png would have their seeds in one file; rename one of them$"):
        make_seeds(settings(run, tmp_path / "out"), progress=False)


def test_true_classes():
    assert true_classes(torch.tensor([3, 0]), 5).tolist() == [[3], [0]]
    several = torch.tensor([[0, 1, 0, 1], [0, 0, 0, 0], [1, -1, 0, 0]])
    assert true_classes(several, 4).tolist() == [[1, 3], [-1, -1], [0, -1]]


def test_true_labels_know_borders(tmp_path):
    file = tmp_path / "a.png"
    pixels = np.array([[0, 3, 3], [255, 5, 5]], dtype=np.uint8)
    Image.fromarray(pixels).save(file)
    marks = Marks([0, 0], [2, 4], MadeMasks([ClassMask(file, 3), ClassMask(file, 5)]))
    split = TensorSplit(targets=torch.zeros(2, 20), marks=marks, images=torch.zeros(2, 3, 2, 3, dtype=torch.uint8))
    assert true_labels(split, 0).tolist() == pixels.tolist()
    assert true_labels(split, 1) is None
    overlapping = Marks([0, 0], [2, 4], [torch.tensor([[1, 1, 0]]), torch.tensor([[0, 1, 0]])])
    assert true_labels(replace(split, marks=overlapping), 0).tolist() == [[3, 5, 0]]


def test_the_command(run, tmp_path, capsys):
    flags = ["--out", str(tmp_path / "s"), "--device", "cpu", "--workers", "0", "--scales", "0.75,1", "--mirror"]
    assert cli.main(["seeds", str(run), *flags]) == 0
    printed = capsys.readouterr().out
    assert "precision" in printed
    assert "24 of 24 images have masks" in printed
    assert printed.splitlines()[-1] == str(tmp_path / "s" / "masks")
    facts = json.loads((tmp_path / "s" / "seeds.json").read_text())
    assert facts["made"]["scales"] == [0.75, 1.0]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--scales", "0"], "scales must be above 0"),
        (
            ["--background", "nowhere"],
            "background must be gradient, maps, none or a folder of saliency maps; 'nowhere'",
        ),
        (["--mechanism", "gradcam"], "mechanism 'gradcam' is not known; did you mean 'grad_cam'?"),
        (["--mechanism", "built_in", "--layer", "x"], "layer is for maps of classes"),
        (["--mechanism", "built_in"], "mechanism 'built_in' needs a network with attention of its own"),
        (["--split", "tset"], "split must be one of train, val, test; got 'tset'"),
        (["--threshold", "2"], "threshold must be at least 0 and below 1; got 2"),
    ],
)
def test_flags_that_do_not_fit(flags, message, run, tmp_path, capsys):
    given = ["seeds", str(run), "--out", str(tmp_path / "s"), "--device", "cpu", "--workers", "0", *flags]
    assert cli.main(given) == 2
    printed = capsys.readouterr().err.strip().splitlines()[-1]
    assert printed.startswith("looksharp: error: ")
    assert message in printed
