import csv
import json
import re

import numpy as np
import pytest
from PIL import Image

from looksharp import cli
from looksharp.experiments import trial
from looksharp.reproducing import running
from looksharp.reproducing.recipe import parse_recipe
from looksharp.reproducing.running import reproduce
from looksharp.training.history import read_history
from looksharp.training.module import Training

SETTINGS = {
    "data": "cifar100",
    "val_share": 0,
    "backbone": "small",
    "epochs": 2,
    "batch_size": 8,
    "lr": 0.05,
    "schedule": "step",
    "milestones": [1],
}
CPU = {"device": "cpu", "workers": 0, "progress": False}


def recipe(**changes):
    values = {
        "paper": "P",
        "title": "P Table 1",
        "data": "--root",
        "images": 36,
        "gflops": 1,
        "settings": SETTINGS,
        "measure": {"top1": {"value": "top1"}, "error": {"value": "top1", "unit": "error"}},
        "rows": {
            "plain": {"paper": {"top1": 50.0}},
            "icasc": {"settings": {"objective": "icasc"}, "paper": {"top1": 60.0}},
        },
    }
    return parse_recipe("p/table", values | changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images of 24 px whose colour is their class."""
    root = tmp_path_factory.mktemp("reproduced") / "colours"
    rng = np.random.default_rng(0)
    for split, count in {"train": 16, "test": 6}.items():
        for place, name in enumerate(("red", "green", "blue")):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 90, (24, 24, 3), dtype=np.uint8)
                pixels[..., place] += 150
                Image.fromarray(pixels).save(root / split / name / f"{number}.png")
    return root


def stop_in_epoch(monkeypatch, epoch):
    step = Training.training_step

    def stopped(module, batch, batch_idx):
        if module.trainer.current_epoch == epoch:
            raise KeyboardInterrupt
        return step(module, batch, batch_idx)

    monkeypatch.setattr(Training, "training_step", stopped)


def test_trains_measures_and_sets_paper_against_ours(tmp_path, folder):
    said = []
    home = reproduce(recipe(), tmp_path, data=str(folder), seeds=[0, 1], report=said.append, **CPU)
    assert home == tmp_path / "p" / "table"
    content = json.loads((home / "results.json").read_text())
    for line in content["lines"]:
        assert line["seeds"] == [0, 1]
        if line["metric"] == "top1":
            assert line["difference"] == pytest.approx(line["ours"] - line["paper"])
            assert 0 <= line["ours"] <= 100
    both = {line["metric"]: line["ours"] for line in content["lines"] if line["row"] == "plain"}
    assert both["top1"] + both["error"] == pytest.approx(100)
    run = next(each for each in content["runs"] if each["row"] == "icasc" and each["seed"] == 1)
    assert (run["images"], run["epochs"], run["settings"]["seed"]) == (48, 2, 1)
    history = read_history(home / "icasc" / "seed-1" / "metrics.csv")
    assert "train_separation_last" in history[0]
    # Validation reads the test images here, so the last row of the history is an independent measurement.
    assert run["figures"]["top1"]["last"] == pytest.approx(100 * history[-1]["val_top1"])
    assert run["figures"]["top1"]["best"] == pytest.approx(100 * max(row["val_top1"] for row in history))
    assert said[0] == f"p/table plain seed 0: {home / 'plain' / 'seed-0'}"


def test_goes_on_where_it_was_stopped_and_keeps_what_is_finished(tmp_path, folder, monkeypatch):
    """The second row is stopped in its second epoch; the same command then repeats nothing but that epoch."""
    with monkeypatch.context() as patched:
        reproduce(recipe(), tmp_path, data=str(folder), rows=["plain"], **CPU)
        stop_in_epoch(patched, 1)
        with pytest.raises(KeyboardInterrupt):
            reproduce(recipe(), tmp_path, data=str(folder), **CPU)
    home = tmp_path / "p" / "table"
    assert len(read_history(home / "icasc" / "seed-0" / "metrics.csv")) == 1
    assert not (home / "icasc" / "seed-0" / "measured.json").exists()
    before = (home / "plain" / "seed-0" / "measured.json").stat().st_mtime_ns
    trained, said = [], []
    step = Training.training_step

    def counted(module, batch, batch_idx):
        trained.append(module.trainer.current_epoch)
        return step(module, batch, batch_idx)

    monkeypatch.setattr(Training, "training_step", counted)
    reproduce(recipe(), tmp_path, data=str(folder), report=said.append, **CPU)
    assert set(trained) == {1}
    assert len(trained) == 48 // 8
    assert "p/table plain seed 0: kept" in said
    assert (home / "plain" / "seed-0" / "measured.json").stat().st_mtime_ns == before
    straight = reproduce(recipe(), tmp_path / "straight", data=str(folder), rows=["icasc"], **CPU)
    assert figures(straight)["icasc"] == figures(home)["icasc"]


def figures(home):
    return {run["row"]: run["figures"] for run in json.loads((home / "results.json").read_text())["runs"]}


def test_a_measured_but_stopped_table_is_not_trained_again(tmp_path, folder, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(running, "measure_run", lambda *args, **options: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            reproduce(recipe(), tmp_path, data=str(folder), rows=["plain"], **CPU)
    stop_in_epoch(monkeypatch, 0)
    home = reproduce(recipe(), tmp_path, data=str(folder), rows=["plain"], **CPU)
    assert list(figures(home)) == ["plain"]


def test_a_smoke_run_stands_apart_and_is_small(tmp_path, folder):
    home = reproduce(recipe(), tmp_path, data=str(folder), scale=0.01, rows=["plain"], **CPU)
    assert home == tmp_path / "p" / "table" / "scale-0.01"
    run = json.loads((home / "results.json").read_text())["runs"][0]
    assert (run["images"], run["epochs"], run["scale"]) == (16, 1, 0.01)  # two batches, one epoch
    assert "Smoke run at scale 0.01" in (home / "results.md").read_text()
    with (home / "results.csv").open(newline="") as file:
        assert {row["difference"] for row in csv.DictReader(file)} == {""}
    assert not (tmp_path / "p" / "table" / "results.md").exists()


def test_a_run_of_other_settings_is_refused(tmp_path, folder):
    other = recipe(settings=SETTINGS | {"lr": 0.1})
    reproduce(recipe(), tmp_path, data=str(folder), scale=0.01, rows=["plain"], **CPU)
    message = r"seed-0 holds a run of other settings \(lr 0.05, now 0.1\); choose another --out, or remove it"
    with pytest.raises(ValueError, match=message):
        reproduce(other, tmp_path, data=str(folder), scale=0.01, rows=["plain"], **CPU)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {},
            "p/table cannot read its images: root must name the folder .*; looksharp reproduce p/table --describe says",
        ),
        ({"root": "NONE"}, "p/table cannot read its images: cifar100 was not found whole in .*NONE"),
        ({"data": "NONE"}, "data must be an image folder in place of the recipe's set; .*NONE is none"),
        ({"rows": ["x"]}, "p/table has no row 'x'; there are plain, icasc"),
        ({"scale": 0}, "scale must be above 0 and at most 1; got 0"),
        ({"scale": 1.5}, "scale must be above 0 and at most 1; got 1.5"),
        ({"seeds": []}, "seeds must be at least one number; got none"),
        ({"cue": "NONE"}, "p/table tests no cue; leave --cue away"),
        ({"from_scratch": True}, "from_scratch is for a smoke run .scale below 1.: the recipe starts from published"),
    ],
)
def test_errors_come_before_anything_is_trained(tmp_path, monkeypatch, given, message):
    monkeypatch.setattr(trial, "train", lambda *args, **options: pytest.fail("trained"))
    for name in ("root", "cue"):
        if name in given:
            given = given | {name: tmp_path / given[name]}
    with pytest.raises(ValueError, match=message):
        reproduce(recipe(), tmp_path / "out", **given, **CPU)
    assert not (tmp_path / "out").exists()


def test_a_recipe_of_private_images_asks_for_a_folder_and_a_cue_for_two(tmp_path):
    private = recipe(folder=True, cue="boat")
    with pytest.raises(ValueError, match="p/table is of images that no public set holds: name your image folder by"):
        reproduce(private, tmp_path, **CPU)
    (tmp_path / "cue" / "without_cue").mkdir(parents=True)
    with pytest.raises(
        ValueError, match=r"cue must be a folder that holds without_cue and cue_alone; .*cue_alone does"
    ):
        reproduce(private, tmp_path, cue=tmp_path / "cue", **CPU)


def test_the_command_lists_describes_and_says_what_is_wrong(tmp_path, capsys):
    assert cli.main(["reproduce"]) == 0
    listed = capsys.readouterr().out
    assert re.search(r"^icasc/table4 +ICASC Table 4, CIFAR-100, ResNet-110 +3 +cifar100 +160 +50,000 +1$", listed, re.M)
    assert cli.main(["reproduce", "icasc/table4", "--describe"]) == 0
    described = capsys.readouterr().out
    assert "cifar-100-python" in described
    assert "channel-weighted: ResNet-110 + ICASC (A_ch); paper: top1 76.11" in described
    assert cli.main(["reproduce", "icasc/table4", "--root", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("looksharp: error: icasc/table4 cannot read its images: cifar100 was not found whole in")
    assert error.count("\n") == 1
