import json

import pytest
import torch
from PIL import Image

from looksharp import cli
from looksharp.evaluation import evaluate, evaluate_run
from looksharp.evaluation.dense import dense_odds, odds_at_size, refined
from looksharp.marks.class_images import read_class_image
from looksharp.segmentation import make_seeds
from looksharp.segmentation.predict import predict_masks
from looksharp.segmentation.preset import sec_settings
from looksharp.segmentation.settings import SeedSettings
from looksharp.training.folder import load_run, read_config
from looksharp.training.history import read_history

TINY = ["--backbone", "small", "--batch_size", "8", "--large_fov.width", "8", "--large_fov.stride", "4"]
HERE = ["--device", "cpu", "--workers", "0"]


@pytest.fixture(scope="module")
def seeds(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("seeds") / "s"
    make_seeds(SeedSettings(run, out, device="cpu", workers=0), progress=False)
    return out


@pytest.fixture(scope="module")
def segmenter(seeds, tmp_path_factory):
    """The folder of a segmentation learnt from those seeds, for four steps."""
    out = tmp_path_factory.mktemp("runs") / "segmenter"
    flags = ["--seeds", str(seeds), "--data", "digits", "--out", str(out), "--steps", "4", *TINY, *HERE]
    assert cli.main(["segment", *flags]) == 0
    return out


def test_it_trains_by_the_papers_settings(segmenter, seeds):
    """SEC: 1e-3 divided by 10 after each quarter, ten times that for the last layer, momentum .9, decay 5e-4."""
    config = read_config(segmenter)
    assert (config.objective_name, config.network.architecture) == ("sec", "large_fov")
    assert config.data.data == f"seeds:{seeds}"
    optimization = config.optimization
    assert (optimization.lr, optimization.every, optimization.gamma) == (1e-3, 1, 0.1)
    assert (optimization.head_lr_factor, optimization.momentum, optimization.weight_decay) == (10, 0.9, 5e-4)
    assert config.network.settings["dropout"] == 0.5
    assert config.training.epochs == 2  # of three steps each
    rows = read_history(segmenter / "metrics.csv")
    assert {"train_seeding", "train_expansion", "train_boundary", "val_top1"} <= rows[0].keys()


def test_the_papers_schedule():
    """8,000 steps of 15 images of 10,582, at 321 px: GAIN Sec. 4.1."""
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from looksharp.data.seed_folder import SeedFolder
    from looksharp.files import write_text

    with TemporaryDirectory() as root:
        folder = SeedFolder(Path(root), {"data": "voc"}, 0, "train", 10582, False, ("a", "b"))
        write_text(folder.path, json.dumps(folder.facts()))
        found = sec_settings(root, {"lr": 0.5, "large_fov": {"width": 7}})
    assert found["batch_size"] == 15
    assert found["every"] == 2000
    assert found["epochs"] * (10582 // 15) >= 8000 > (found["epochs"] - 1) * (10582 // 15)
    assert (found["image_size"], found["fit"], found["augment"]) == (321, "resize", "flip")
    assert (found["lr"], found["large_fov"]) == (0.5, {"dropout": 0.5, "width": 7})


def test_it_goes_on(seeds, tmp_path, monkeypatch, capsys):
    flags = ["--out", str(tmp_path / "r"), *HERE]
    first = ["segment", "--seeds", str(seeds), "--steps", "3", *TINY]
    assert cli.main([*first, *flags]) == 0
    assert cli.main([*first, *flags]) == 2
    assert "already holds a run; continue it with --resume" in capsys.readouterr().err
    assert cli.main(["segment", "--resume", "--epochs", "2", *flags]) == 0
    assert [row["epoch"] for row in read_history(tmp_path / "r" / "metrics.csv")] == [0, 1]
    assert cli.main([*first, "--resume", "--epochs", "2", *flags]) == 0  # the whole command once more
    monkeypatch.chdir(seeds.parent)
    assert cli.main(["segment", "--resume", "--seeds", seeds.name, *flags]) == 0  # by another path
    for wrong, said in {
        ("--seeds", "elsewhere"): f"seeds must be those of {tmp_path / 'r'}, {seeds}; got elsewhere",
        ("--data", "voc"): "data must be that of the seeds, digits; got voc",
        ("--steps", "12"): f"{tmp_path / 'r'} holds a run of other settings (every 1, now 3); choose another --out",
        ("--no_crf",): "crf is for the masks of images: RUN IMAGE ...; training makes none",
        ("--checkpoint", "best"): "checkpoint is for the masks of images: RUN IMAGE ...; training makes none",
    }.items():
        capsys.readouterr()
        assert cli.main(["segment", "--resume", *wrong, *flags]) == 2
        assert said in capsys.readouterr().err


def test_its_masks(segmenter, seeds, few, tmp_path, capsys):
    images = []
    for name, size in {"0": (48, 48), "other": (60, 40)}.items():
        images.append(tmp_path / f"{name}.png")
        picture = Image.fromarray(few.splits["train"].images[0].permute(1, 2, 0).numpy())
        picture.resize(size[::-1]).save(images[-1])
    given = ["segment", str(segmenter), *map(str, images), "--out", str(tmp_path / "masks"), "--device", "cpu"]
    assert cli.main([*given, "--seeds", str(seeds)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.rpartition("/")[2] for line in printed] == ["masks.png", "0.png", "other.png"]
    run = load_run(segmenter, device="cpu")
    picture = few.splits["train"].images[0]
    odds = odds_at_size(dense_odds(run.model, run.pixels.normalize(picture[None]))[0], (48, 48))
    found = read_class_image(tmp_path / "masks" / "masks" / "0.png", 10)
    assert torch.equal(found, refined(odds, picture).argmax(0).to(torch.uint8))
    assert read_class_image(tmp_path / "masks" / "masks" / "other.png", 10).shape == (60, 40)
    with Image.open(tmp_path / "masks" / "masks.png") as drawn:
        assert min(drawn.size) > 100
    images[1].rename(tmp_path / "3.png")
    with pytest.raises(ValueError, match=r"3\.png has 48 x 48 px, but .*3\.png has 60 x 40: seeds are found by an"):
        predict_masks(run, [tmp_path / "3.png"], tmp_path / "wrong", seeds=seeds, progress=False)
    plain = predict_masks(run, images[:1], tmp_path / "plain", crf=False, progress=False)
    assert torch.equal(read_class_image(plain[1], 10), odds.argmax(0).to(torch.uint8))


def test_classes_that_are_nowhere_are_left_out_of_the_crf():
    odds = torch.full((5, 12, 12), 0.001)
    odds[1, :, :6] = odds[2, :, 6:] = 0.996
    found = refined(odds, torch.randint(0, 255, (3, 12, 12), dtype=torch.uint8))
    assert found[[0, 3, 4]].eq(0).all()
    torch.testing.assert_close(found.sum(0), torch.ones(12, 12))


def test_it_is_measured(segmenter, few):
    found = evaluate_run(segmenter, data=few, suites=("segmentation",), device="cpu", workers=0, progress=False)["test"]
    assert {"miou", "miou_crf", "background_iou", "background_iou_crf"} == found.values.keys()
    assert found.per_image["miou"].shape == (12,)
    assert len(found.tables["per_class"]["iou_crf"]) == 10


def test_it_is_measured_without_a_crf_on_some_images_of_a_split(segmenter, few, tmp_path):
    asked = ["evaluate", str(segmenter), "--suite", "segmentation", "--split", "val", "--images", "4", *HERE]
    found = []
    for name, flags in {"whole": [], "plain": ["--no_crf"]}.items():
        assert cli.main([*asked, *flags, "--json", str(tmp_path / name)]) == 0
        found.append(json.loads((tmp_path / name).read_text()))
    whole, plain = (each["splits"]["val"] for each in found)
    assert {"miou", "miou_crf", "background_iou", "background_iou_crf"} == whole.keys()
    assert plain == {name: whole[name] for name in ("miou", "background_iou")}
    images = few.testing("val", 4)
    run = load_run(segmenter, device="cpu")
    assert list(images.tests) == ["val"]
    assert evaluate(run, images.tests["val"], suites=["segmentation"], crf=False).values == pytest.approx(plain)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "segment needs seeds to train on, --seeds SEEDS, or a run and images: RUN IMAGE ..."),
        (["nowhere"], "segment RUN needs images to write masks of; to train, name seeds: --seeds SEEDS"),
        (["--seeds", "nowhere"], "nowhere is no folder of seeds: it has no seeds.json; make it with looksharp seeds"),
        (["--seeds", "SEEDS", "--data", "voc"], "data must be that of the seeds, digits; got voc"),
        (["RUN", "a.png", "--steps", "3"], "steps is for training, which takes --seeds and no images"),
        (["RUN", "a.png", "--lr", "3"], "lr is for training, which takes --seeds and no images"),
        (["RUN", "a.png"], "a.png cannot be read as an image: No such file or directory"),
        (["RUN", "a/b.png", "b.png"], "two images are called b, and would have one mask"),
        (["PLAIN", "IMAGE"], "masks need a network that scores every position, such as --architecture large_fov makes"),
        (["--seeds", "SEEDS", "--large_fov.stride", "0"], "large_fov.stride must be at least 1; got 0"),
    ],
)
def test_what_does_not_fit(flags, message, segmenter, seeds, run, tmp_path, capsys):
    Image.new("RGB", (48, 48)).save(tmp_path / "x.png")
    known = {"SEEDS": seeds, "RUN": segmenter, "PLAIN": run, "IMAGE": tmp_path / "x.png"}
    given = [str(known.get(flag, flag)) for flag in flags]
    assert cli.main(["segment", *given, "--out", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr().err.strip().splitlines()[-1]
    assert printed.startswith("looksharp: error: ")
    assert message in printed
