import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet
import pytest
import torch
from PIL import Image

from looksharp import cli
from looksharp.attention.attend import attend
from looksharp.data.loose import loose_images
from looksharp.data.sets.synthetic import digits
from looksharp.data.split import Pixels
from looksharp.explaining import many, sheets
from looksharp.explaining.many import explain_many
from looksharp.explaining.settings import ManySettings
from looksharp.explaining.shard import read_maps
from looksharp.networks import AttentionBranchNetwork, SmallNet
from looksharp.networks.built_in import built_in_attention
from looksharp.training import Run
from looksharp.training.settings import RunConfig

NAMES = ("cat", "dog", "great ape", "tench, tinca", "zebra", "7")
QUICK = ManySettings(classes="top2", shard_size=4, batch_size=3, workers=0)


@pytest.fixture(scope="module")
def run():
    torch.manual_seed(0)
    model = SmallNet(6, width=8).eval()
    return Run(None, RunConfig(), model, NAMES, Pixels((32, 40)), multilabel=False, seconds=1.0)


@pytest.fixture
def folder(tmp_path):
    """Eleven images in two folders, of the run's size."""
    drawn = np.random.default_rng(0).integers(0, 255, (11, 32, 40, 3), dtype=np.uint8)
    for number, pixels in enumerate(drawn):
        path = tmp_path / "images" / "ab"[number % 2] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return tmp_path / "images"


def batch_of(run, split, place):
    return run.pixels.normalize(split.image(place).as_subclass(torch.Tensor).unsqueeze(0))


def test_every_image_has_a_row_for_each_class(run, folder, tmp_path):
    split = loose_images([folder])
    done = explain_many(run, split, tmp_path / "out", QUICK, progress=False)
    assert [path.name for path in done.shards] == [f"maps-{number:06d}.parquet" for number in range(3)]
    assert (done.images, done.left_out, done.pictures) == (11, (), ())
    rows = list(read_maps(tmp_path / "out"))
    assert [row.index for row in rows] == [place for place in range(11) for _ in range(2)]
    assert rows[0].image == "a/00.png"
    for place in range(11):
        expected = attend(run.model, batch_of(run, split, place), top=2)
        odds = expected.logits.softmax(1)[0, expected.classes[0]]
        for row, label, chance, attention in zip(
            rows[2 * place : 2 * place + 2], expected.classes[0].tolist(), odds, expected.maps["stage3"][0], strict=True
        ):
            assert (row.name, row.layer, row.head) == (NAMES[label], "stage3", None)
            assert row.probability == pytest.approx(float(chance), rel=1e-5)
            # Half precision: half a unit in the last of 11 bits, of a value that the peak divides.
            np.testing.assert_allclose(row.map, attention, rtol=2**-11, atol=2**-14 * float(attention.max()))
    table = pyarrow.parquet.read_table(done.shards[0])
    assert str(table.schema.field("map").type) == "list<element: halffloat>"
    assert table.num_rows == 8
    assert [row.index for row in read_maps(tmp_path / "out", [9, 3])] == [3, 3, 9, 9]


def test_it_goes_on_with_the_files_that_are_missing(run, folder, tmp_path, monkeypatch):
    split, out, written = loose_images([folder]), tmp_path / "out", []
    whole = many.new_shard

    def new_shard(path, classes):
        written.append(path.name)
        if len(written) == 2:
            raise KeyboardInterrupt
        return whole(path, classes)

    monkeypatch.setattr(many, "new_shard", new_shard)
    with pytest.raises(KeyboardInterrupt):
        explain_many(run, split, out, QUICK, progress=False)
    assert {path.name for path in out.iterdir()} == {"explained.json", "maps-000000.parquet"}
    done = explain_many(run, split, out, replace(QUICK, batch_size=2, pictures=1), progress=False)
    assert written[2:] == ["maps-000001.parquet", "maps-000002.parquet"]
    assert done.images == 7
    assert [row.index for row in read_maps(out)] == [place for place in range(11) for _ in range(2)]
    assert explain_many(run, split, out, QUICK, progress=False).images == 0


def test_a_folder_of_other_maps_is_refused_in_one_line(run, folder, tmp_path):
    split, out = loose_images([folder]), tmp_path / "out"
    explain_many(run, split, out, QUICK, progress=False)

    def refused(run, split, settings):
        with pytest.raises(ValueError, match=rf"^{out} holds maps of .*; choose another --out$") as error:
            explain_many(run, split, out, settings, progress=False)
        return str(error.value).removeprefix(f"{out} holds maps of ").removesuffix("; choose another --out")

    assert refused(run, split, replace(QUICK, classes="top3")) == "classes top2, not top3"
    assert refused(run, split, replace(QUICK, shard_size=5)) == "shard_size 4, not 5"
    assert refused(run, split, replace(QUICK, mechanism="layer_cam")) == "mechanism grad_cam, not layer_cam"
    assert refused(run, split.taken([0, 1]), QUICK) == "other images"
    torch.manual_seed(1)
    other = replace(run, model=SmallNet(6, width=8).eval())
    assert refused(other, split, QUICK) == "other weights"
    (out / "explained.json").write_text("{")
    with pytest.raises(ValueError, match=r"explained\.json is damaged; remove .*, or choose another --out$"):
        explain_many(run, split, out, QUICK, progress=False)


def test_images_that_cannot_be_read_are_left_out_and_named(run, folder, tmp_path):
    for name in ("a/00.png", "a/10.png", "b/03.png"):
        (folder / name).write_bytes(b"no image")
    split = loose_images([folder])
    done = explain_many(run, split, tmp_path / "out", replace(QUICK, batch_size=1), progress=False)
    assert done.left_out == ("a/00.png", "a/10.png", "b/03.png")
    rows = {row.image: row for row in read_maps(tmp_path / "out")}
    assert sorted(rows) == sorted(set(split.paths) - set(done.left_out))
    expected = attend(run.model, batch_of(run, split, 1), top=2).maps["stage3"][0, 1]
    np.testing.assert_allclose(rows["a/02.png"].map, expected, rtol=1e-3, atol=1e-5)


def test_chosen_classes_of_images_in_memory(folder, tmp_path):
    data = digits(train=4, val=1, test=7)
    torch.manual_seed(0)
    model, names = SmallNet(10, width=8).eval(), tuple(map(str, range(10)))
    run = Run(None, RunConfig(), model, names, data.pixels, multilabel=True, seconds=1.0)
    settings = ManySettings(classes="7,3", layer=("stage1", "stage3"), fuse=True, signed=True, workers=0)
    explain_many(run, data.splits["test"], tmp_path / "out", settings, progress=False)
    rows = list(read_maps(tmp_path / "out"))
    assert [row.name for row in rows] == ["7", "3"] * 7
    image = batch_of(run, data.splits["test"], 6)
    classes = torch.tensor([[7, 3]])
    expected = attend(model, image, classes, layers=["stage1", "stage3"], fuse=True, signed=True)
    assert rows[-1].layer == "stage1+stage3"
    assert rows[-1].map.min() < 0
    assert rows[-1].probability == pytest.approx(float(expected.logits.sigmoid()[0, 3]), rel=1e-4)
    np.testing.assert_allclose(rows[-1].map, expected.maps["stage1+stage3"][0, 1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("multitask", [False, True])
def test_attention_of_the_networks_own(multitask, run, folder, tmp_path):
    torch.manual_seed(0)
    backbone = SmallNet(12 if multitask else 6, width=8)
    model = AttentionBranchNetwork(backbone, image_size=(32, 40), multitask=multitask).eval()
    own, split = replace(run, model=model, multilabel=multitask), loose_images([folder])
    explain_many(own, split, tmp_path / "out", replace(QUICK, classes="dog,cat"), progress=False)
    found = built_in_attention(model, batch_of(run, split, 5))
    rows = list(read_maps(tmp_path / "out", [5]))
    if multitask:
        assert [(row.name, row.head) for row in rows] == [("dog", None), ("cat", None)]
        expected = found.maps["stage3"][0, [1, 0]]
    else:
        assert [(row.name, row.head) for row in rows] == [(NAMES[int(found.logits.argmax())], 0)]
        expected = found.maps["stage3"][0]
    np.testing.assert_allclose([row.map for row in rows], expected.detach(), rtol=1e-3, atol=1e-5)


def test_sheets_hold_so_many_pictures(run, folder, tmp_path, monkeypatch):
    assert sheets._SHEET == 50
    monkeypatch.setattr(sheets, "_SHEET", 2)
    drawn, whole = [], sheets.attention_grid
    monkeypatch.setattr(
        sheets, "attention_grid", lambda rows, path, titles: (drawn.append(titles), whole(rows, path, titles=titles))
    )
    split = loose_images([folder])
    done = explain_many(run, split, tmp_path / "out", replace(QUICK, pictures=3), progress=False)
    assert [path.name for path in done.pictures] == ["pictures-01.png", "pictures-02.png"]
    assert drawn == [[split.paths[0], split.paths[5]], [split.paths[10]]]
    with Image.open(done.pictures[1]) as picture:
        picture.load()
    assert np.asarray(picture.convert("RGB")).std() > 10


def test_the_command_takes_folders_and_splits(folder, tmp_path, capsys, monkeypatch):
    few = ["--digits.train", "32", "--digits.val", "16", "--digits.test", "16", "--epochs", "1", "--batch_size", "16"]
    run, quick = str(tmp_path / "run"), ["--device", "cpu", "--workers", "0"]
    assert cli.main(["train", "--out", run, *few, *quick]) == 0

    def explain(*arguments):
        capsys.readouterr()
        status = cli.main(["explain", run, *map(str, arguments), *quick])
        return status, *capsys.readouterr()

    (folder / "a" / "00.png").write_bytes(b"no image")
    out = tmp_path / "of folder"
    status, said, noted = explain(folder, "--out", out, "--pictures", "2", "--shard_size", "6", "--classes", "7")
    assert status == 0
    assert said.startswith(f"{out}: maps of 10 images in 2 files; 11 images now, ")
    assert said.splitlines()[1:] == [str(out / "pictures-01.png")]
    assert noted.splitlines()[-1] == "note: a/00.png cannot be read as an image"
    assert json.loads((out / "explained.json").read_text())["classes"] == "7"
    out = tmp_path / "of split"
    status, said, _ = explain("digits", "--split", "test", "--out", out)
    assert (status, len(list(read_maps(out)))) == (0, 16 * 5)
    status, _, noted = explain("digits", "--split", "tset", "--out", out)
    assert (status, noted) == (2, "looksharp: error: split 'tset' is not in digits; there are train, val, test\n")
    monkeypatch.setattr("looksharp.cli.commands.explain._FEW", 2)
    files = sorted(folder.glob("b/*.png"))
    assert explain(*files, "--out", tmp_path / "of files")[0] == 0
    assert {row.image for row in read_maps(tmp_path / "of files")} == set(map(str, files))
    assert explain(*files[:2], "--out", tmp_path / "few")[0] == 0
    assert {path.name for path in (tmp_path / "few").iterdir()} == {"attention.png", "01.npz", "03.npz"}
    status, _, noted = explain(tmp_path / "run" / "checkpoints", "--out", out)
    assert (status, noted) == (2, f"looksharp: error: {tmp_path / 'run' / 'checkpoints'} holds no image\n")
