import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import wraps
from importlib.metadata import version

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from looksharp import cli
from looksharp.data.registry import DATA_SETS
from looksharp.images.reading import read_image
from looksharp.networks import build_classifier
from looksharp.networks.profiling import profile
from looksharp.training import load_run
from looksharp.training.module import Training

COMMANDS = (
    *(
        "train",
        "adopt",
        "evaluate",
        "explain",
        "compare",
        "suspects",
        "cure",
        "studio",
        "compose",
        "profile",
        "reproduce",
        "demo",
        "doctor",
    ),
)
CLASSES = ("blue", "green", "red")
QUICK = ("--device", "cpu", "--epochs", "1", "--batch_size", "8", "--workers", "0")


def make_folder(root, classes=CLASSES, count=12, side=24):
    rng = np.random.default_rng(0)
    for place, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 90, (side, side, 3), dtype=np.uint8)
            pixels[..., 2 - place % 3] += 150
            Image.fromarray(pixels).save(root / name / f"{number:02d}.png")
    return root


@pytest.fixture(autouse=True)
def _few_digits(monkeypatch):
    """Validation and test splits that do not take longer than the rest."""

    def few(reader):
        return wraps(reader)(lambda **given: reader(**given | {"val": 32, "test": 32}))

    for name in ("digits", "biased_digits"):
        made = DATA_SETS[name]
        monkeypatch.setitem(DATA_SETS._things, name, replace(made, reader=few(made.reader)))


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("images") / "colours")


@pytest.fixture(scope="session")
def run(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "colours"
    settings = ("--optimizer", "adamw", "--lr", "0.01", "--epochs", "6", "--seed", "2")
    assert cli.main(["train", "--data", str(folder), "--out", str(out), *QUICK, *settings]) == 0
    return out


@pytest.fixture
def looksharp(capfd):
    """Run a command that must succeed; gives its output."""

    def call(*arguments):
        capfd.readouterr()
        status = cli.main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        assert status == 0, err
        assert "error" not in err
        assert "Warning" not in err
        return out

    return call


@pytest.fixture
def fails(capfd):
    """Run a command that must fail with one line on stderr; gives that line without its beginning."""

    def call(*arguments):
        capfd.readouterr()
        status = cli.main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        assert status == 2
        assert out == ""
        assert err.count("\n") == 1, err
        line = err.rstrip("\n").rpartition("\r")[2]  # a bar that a slow machine has drawn is wiped out before it
        assert line.startswith("looksharp: error: "), err
        return line.removeprefix("looksharp: error: ")

    return call


def read_tables(out):
    """Printed tables: what stands in the corner -> heading -> metric -> value; and the lines after them."""
    tables, lines = {}, []
    for block in out.strip("\n").split("\n\n"):
        rows = block.splitlines()
        if "parameters" in rows[0]:
            lines += rows
            continue
        assert len({len(row) for row in rows}) == 1  # columns stand below each other
        head, *cells = [row.split() for row in rows]
        corner = "" if rows[0].startswith(" ") else head.pop(0)
        tables[corner] = {name: {c[0]: c[1 + i] for c in cells} for i, name in enumerate(head)}
    return tables, lines


# Help ------------------------------------------------------------------------------------------------------------


def flags_of(help_text):
    """Flag -> its description, of a help page."""
    _, _, options = help_text.partition("\noptions:\n")
    entries = re.split(r"\n(?=  -)", "\n" + options)
    found = {}
    for entry in entries:
        flag = re.match(r"  (?:-\w, )?(--[\w.]+)", entry)
        if flag:
            # After the flag and its value comes the description, on the same line or the next.
            described = re.split(r"\s{2,}|\n", entry.strip(), maxsplit=1)
            found[flag[1]] = " ".join(described[1].split()) if len(described) > 1 else ""
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_is_described(command, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main([command, "--help"])
    assert end.value.code == 0
    page = capsys.readouterr().out
    usage = page.partition("\n\n")[0]
    flags = flags_of(page)
    assert set(re.findall(r"\[(--[\w.]+)", usage)) <= flags.keys()
    for flag, text in flags.items():
        words = re.sub(r"\((required, )?(type|default): .*\)$", "", text)
        assert len(words) > 5, flag
    assert "torch." not in page  # no types of the inside


def test_help_on_the_whole(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["--help"])
    assert end.value.code == 0
    page = capsys.readouterr().out
    for command in COMMANDS:
        assert re.search(rf"^    {command}\s+[A-Z]", page, re.MULTILINE)


def test_version(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert end.value.code == 0
    assert version("looksharp") in capsys.readouterr().out


def test_help_of_train_names_every_choice(capsys):
    with pytest.raises(SystemExit):
        cli.main(["train", "--help"])
    flags = flags_of(capsys.readouterr().out)
    for flag in ("--data", "--backbone", "--marks", "--lr", "--seed", "--out", "--resume", "--config"):
        assert flag in flags
    assert len([flag for flag in flags if "." not in flag]) <= 60
    assert not any(flag.startswith(("--icasc", "--voc", "--attend_rectify")) for flag in flags)
    with pytest.raises(SystemExit):
        cli.main(["train", "--help", "--objective", "icasc+gain", "--data=voc", "--architecture", "attend_rectify"])
    flags = flags_of(capsys.readouterr().out)
    for flag in ("--icasc.theta", "--icasc.mechanism", "--gain.sigma", "--gain.mechanism", "--voc.set"):
        assert flag in flags
    assert {"--attend_rectify.heads", "--head_diversity.weight"} <= flags.keys()
    with pytest.raises(SystemExit):
        cli.main(["train", "--help", "--cues=cues.json", "--logger", "csv", "--propagate"])
    beside = {"--shortcut", "--object", "--logged_maps", "--propagate_without"}
    assert beside <= flags_of(capsys.readouterr().out).keys()
    assert not beside & flags.keys()
    assert "number of the backbone's last stages" in flags["--attend_rectify.layers"]  # not the attribute of that name


# What works ------------------------------------------------------------------------------------------------------


def test_as_a_program_of_its_own(folder, tmp_path):
    call = [sys.executable, "-W", "default", "-m", "looksharp", "train", "--data", str(folder), *QUICK]
    done = subprocess.run([*call, "--out", str(tmp_path / "run")], capture_output=True, text=True, check=True)
    assert re.fullmatch(rf"{tmp_path}/run  epoch 1  val_top1 [\d.]+  val_loss [\d.]+  \d+ s\n", done.stdout)
    assert "Epoch 0: 100%" in done.stderr  # progress
    assert "Warning" not in done.stderr
    assert "lightning" not in done.stderr.lower()


def test_train_leaves_a_run_and_says_where(run, looksharp, folder, tmp_path):
    out = looksharp("train", "--data", folder, "--out", tmp_path / "run", *QUICK)
    assert re.fullmatch(rf"{tmp_path}/run  epoch 1  val_top1 [\d.]+  val_loss [\d.]+  \d+ s\n", out)
    loaded = load_run(tmp_path / "run", device="cpu")
    assert loaded.classes == CLASSES
    assert loaded.config.data.data == str(folder)
    assert (loaded.config.training.epochs, loaded.config.training.batch_size) == (1, 8)


def test_the_folder_of_a_run_has_a_name_of_its_own(looksharp, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    looksharp("train", "--data", folder, "--seed", "7", "--objective", "icasc", *QUICK)
    assert (tmp_path / "runs" / "colours-icasc-7" / "model.safetensors").is_file()


def test_a_runs_settings_train_its_like(run, looksharp, tmp_path):
    looksharp("train", "--config", run / "config.yaml", "--out", tmp_path / "again")
    assert (tmp_path / "again" / "config.yaml").read_text() == (run / "config.yaml").read_text()
    for name in ("model.safetensors",):
        assert (tmp_path / "again" / name).read_bytes() == (run / name).read_bytes()
    looksharp("train", "--config", run / "config.yaml", "--out", tmp_path / "other", "--epochs", "1")
    assert load_run(tmp_path / "other", device="cpu").config.training.epochs == 1


@pytest.mark.parametrize(
    ("flags", "objective", "options"),
    [
        (["classification", "--classification.label_smoothing", "0.1"], "classification", {"label_smoothing": 0.1}),
        (["icasc", "--icasc.mechanism", "xgrad_cam", "--icasc.theta", "0.7"], "icasc", {"theta": 0.7}),
        (["icasc", "--icasc.layers", "stage1,stage3"], "icasc", {"layers": ["stage1", "stage3"]}),
        (["icasc", "--icasc.layers", "stage1,stage2,stage3"], "icasc", {"layers": ["stage1", "stage2", "stage3"]}),
        (["icasc", "--icasc.preset", "literal"], "icasc", {"preset": "literal", "normalize": None}),
        (["gain", "--gain.mechanism", "layer_cam", "--gain.alpha", "0.5"], "gain", {"mechanism": "layer_cam"}),
        (["gain+squared_error", "--marks", "data", "--marked", "9", "--marked_per_batch", "2"], "gain", {"alpha": 1.0}),
    ],
)
def test_objectives_on_digits(flags, objective, options, looksharp, tmp_path):
    out = tmp_path / "run"
    looksharp("train", "--data", "digits", "--digits.train", "64", "--out", out, *QUICK, "--objective", *flags)
    values = yaml.safe_load((out / "config.yaml").read_text())
    assert values["objective"][0][objective].items() >= options.items()
    assert (json.loads((out / "run.json").read_text())["marked"] == 9) == ("gain+squared_error" in flags)
    tables, _ = read_tables(looksharp("evaluate", out, "--device", "cpu"))
    assert tables.keys() == {""}
    assert tables[""].keys() == {"test"}
    assert "attention_inside" in tables[""]["test"]  # the digits' masks are known


@pytest.mark.parametrize(
    ("architecture", "flags", "options"),
    [
        ("cam", ["--cam.cut", "stage2"], {"cut": "stage2"}),
        ("attention_branch", ["--attention_branch.preset", "official_code"], {"preset": "official_code"}),
    ],
)
def test_architectures_are_trained_and_read_back(architecture, flags, options, looksharp, folder, tmp_path):
    out = tmp_path / "run"
    looksharp("train", "--data", folder, "--out", out, *QUICK, "--architecture", architecture, *flags)
    values = yaml.safe_load((out / "config.yaml").read_text())
    assert values["architecture"] == architecture
    assert values[architecture].items() >= options.items()
    assert not {"cam", "attention_branch", "attend_rectify"} - {architecture} & values.keys()
    run = load_run(out, device="cpu")
    assert run.config.network.settings == values[architecture]
    torch.manual_seed(0)
    again = build_classifier("small", 3, image_size=run.pixels.size, architecture=architecture, options=options).eval()
    again.load_state_dict(load_file(out / "model.safetensors"))
    images = torch.rand(4, 3, *run.pixels.size)
    with torch.no_grad():
        assert torch.equal(run.model(images), again(images))
    assert ("train_branch" in run.history[-1]) == (architecture == "attention_branch")
    looksharp("train", "--config", out / "config.yaml", "--out", tmp_path / "again")
    assert (tmp_path / "again" / "config.yaml").read_text() == (out / "config.yaml").read_text()
    looksharp("explain", out, folder / "red" / "00.png", "--out", tmp_path / "maps", "--device", "cpu")
    found = np.load(tmp_path / "maps" / "00.npz")
    if architecture == "attention_branch":
        picture = run.pixels.normalize(read_image(folder / "red" / "00.png").as_subclass(torch.Tensor)).unsqueeze(0)
        np.testing.assert_allclose(found["stage3"], run.model.explained(picture).maps[0].detach(), rtol=1e-4)
    else:
        assert "maps" in found


def test_profile_beside_the_backbone(looksharp):
    flags = ("--classes", "7", "--image_size", "32", "--repeats", "1", "--device", "cpu")
    out = looksharp("profile", "small", "--architecture", "cam,attention_branch", *flags)
    header, *rows, note = out.splitlines()
    assert header.split() == ["network", "parameters", "GFLOP", "x", "ms", "an", "image", "x"]
    assert [re.split(r"\s{2,}", row.strip())[0] for row in rows] == ["small", "+ cam", "+ attention_branch"]
    plain, branched = (
        build_classifier("small", 7, image_size=(32, 32), architecture=name) for name in ("plain", "attention_branch")
    )
    base, found = (profile(network, 32, repeats=1) for network in (plain, branched))
    assert rows[0].split()[1:5] == [f"{base.parameters / 1e6:.2f}", "M", f"{base.flops / 1e9:.3f}", "1.00"]
    assert rows[2].split()[2:6] == [
        f"{found.parameters / 1e6:.2f}",
        "M",
        f"{found.flops / 1e9:.3f}",
        f"{found.flops / base.flops:.2f}",
    ]
    assert rows[0].split()[-1] == "1.00"
    assert note.startswith("A multiplication and the addition behind it are two operations")


def test_profile_says_which_architecture_a_backbone_does_not_take(looksharp, fails):
    flags = ("--classes", "7", "--image_size", "160", "--repeats", "1", "--device", "cpu")
    rows = looksharp("profile", "test_vit", *flags).splitlines()
    assert "  + attention_branch" in [re.split(r"\s{2,}-", row)[0] for row in rows]
    message = "architecture 'attention_branch' around backbone 'test_vit': cut must name where the last stage of"
    assert fails("profile", "test_vit", "--architecture", "attention_branch", *flags).startswith(message)
    assert fails("profile", "small", "--classes", "0") == "classes must be at least 1 and at most 1000000; got 0"
    assert fails("profile", "smal").startswith("backbone 'smal' is not known; did you mean 'small'")
    assert fails("profile", "small", "--architecture", "guess").startswith("architecture must be one of plain, ")


def test_evaluate_prints_and_writes_a_table(run, looksharp, tmp_path):
    out = looksharp("evaluate", run, "--device", "cpu", "--workers", "0", "--json", tmp_path / "values.json")
    tables, (cost,) = read_tables(out)
    shown = tables[""]["test"]
    assert list(shown)[:4] == ["top1", "top5", "map", "loss"]
    assert {"overlap_last", "overlap_inner", "consistency"} <= shown.keys()
    facts = json.loads((tmp_path / "values.json").read_text(), parse_constant=pytest.fail)
    assert facts["splits"].keys() == facts["tables"].keys() == {"test"}
    assert {name: f"{value:.4f}" for name, value in facts["splits"]["test"].items()} == shown
    assert facts["tables"]["test"]["classes"] == list(CLASSES)
    assert (facts["run"], facts["checkpoint"]) == (str(run), "last")
    loaded = load_run(run, device="cpu")
    assert facts["data"] == loaded.config.data.data
    found = facts["profile"]
    assert found["parameters"] == sum(p.numel() for p in loaded.model.parameters())
    per_million = 100 * facts["splits"]["test"]["top1"] / (found["parameters"] / 1e6)
    assert found["accuracy_per_million"] == {"test": pytest.approx(per_million)}
    assert re.fullmatch(rf"{run}: [\d.]+ M parameters, [\d.e-]+ GFLOP and [\d.]+ ms an image", cost)


def test_evaluate_several_runs_side_by_side(run, looksharp, tmp_path):
    shutil.copytree(run, tmp_path / "second")
    (tmp_path / "second" / "checkpoints" / "last.ckpt").write_bytes((run / "checkpoints" / "best.ckpt").read_bytes())
    quiet = ("--device", "cpu", "--workers", "0", "--suite", "classification")
    out = looksharp("evaluate", run, tmp_path / "second", *quiet, "--json", tmp_path / "values.json")
    tables, costs = read_tables(out)
    assert tables.keys() == {"test"}
    assert tables["test"].keys() == {run.name, "second"}
    assert len(costs) == 2
    first, second = json.loads((tmp_path / "values.json").read_text())
    assert (first["run"], second["run"]) == (str(run), str(tmp_path / "second"))
    for facts, name in ((first, run.name), (second, "second")):
        shown = tables["test"][name]
        assert {metric: f"{value:.4f}" for metric, value in facts["splits"]["test"].items()} == shown
        assert "consistency" not in shown  # of a suite that was not asked for
    alone = looksharp("evaluate", tmp_path / "second", *quiet, "--checkpoint", "best")
    assert read_tables(alone)[0][""]["test"] == tables["test"]["second"]


def test_runs_of_one_name_are_told_apart(run, looksharp, tmp_path):
    shutil.copytree(run, tmp_path / run.name)
    quiet = ("--device", "cpu", "--workers", "0", "--suite", "classification")
    tables, _ = read_tables(looksharp("evaluate", run, tmp_path / run.name, *quiet))
    assert tables["test"].keys() == {str(run), str(tmp_path / run.name)}


def test_evaluate_keeps_what_it_measured(run, looksharp, tmp_path, capfd):
    shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("evaluation"))
    call = ("evaluate", tmp_path / "run", "--device", "cpu", "--workers", "0", "--suite")
    out = looksharp(*call, "classification")
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "evaluation").iterdir()}
    assert {path.suffix for path in files} == {".json", ".safetensors"}
    assert read_tables(looksharp(*call, "classification"))[0] == read_tables(out)[0]
    assert {path: path.stat().st_mtime_ns for path in files} == files
    looksharp(*call, "classification", "--refresh")
    assert all(path.stat().st_mtime_ns > before for path, before in files.items())
    looksharp(*call, "attention,ten_crop")
    assert len(list((tmp_path / "run" / "evaluation").iterdir())) == 6


def test_every_suite_of_a_run(looksharp, tmp_path):
    out = tmp_path / "run"
    looksharp("train", "--data", "digits", "--digits.train", "64", "--out", out, *QUICK)
    tables, _ = read_tables(looksharp("evaluate", out, "--device", "cpu", "--suite", "all"))
    found = {"top1", "pointing_game", "max_box_acc_v2", "insertion", "top1_ten_crop", "background_gap"}
    assert found <= tables[""]["test"].keys()


def test_evaluate_on_other_images(run, looksharp, tmp_path):
    make_folder(tmp_path / "more" / "train", side=40)
    make_folder(tmp_path / "more" / "test_night", count=2)
    out = looksharp("evaluate", run, "--device", "cpu", "--workers", "0", "--data", tmp_path / "more")
    assert read_tables(out)[0][""].keys() == {"test_night"}


def test_evaluate_reads_the_best_weights_on_demand(run, looksharp, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "last.ckpt").unlink()
    looksharp("evaluate", tmp_path / "run", "--device", "cpu", "--workers", "0", "--checkpoint", "best")


def test_several_splits_of_one_run(looksharp, tmp_path):
    out = tmp_path / "run"
    looksharp("train", "--data", "biased_digits", "--biased_digits.train", "64", "--out", out, *QUICK)
    tables, _ = read_tables(looksharp("evaluate", out, "--device", "cpu"))
    assert list(tables[""]) == ["biased", "unbiased", "conflicting"]
    assert all("worst_group" in values for values in tables[""].values())


def test_clutter_of_several_densities(looksharp, tmp_path):
    out = tmp_path / "run"
    sizes = [f"--cluttered_digits.{name}={size}" for name, size in {"train": 32, "val": 8, "test": 8}.items()]
    clutter = (
        "--cluttered_digits.distractors=2",
        "--cluttered_digits.test_distractors=0,16",
        "--backbone",
        "clutter_cnn",
    )
    looksharp("train", "--data", "cluttered_digits", *sizes, *clutter, "--out", out, *QUICK)
    tables, _ = read_tables(looksharp("evaluate", out, "--device", "cpu"))
    assert list(tables[""]) == ["test", "test0", "test16"]
    assert all("attention_inside" in values for values in tables[""].values())  # masks are known


def test_evaluate_without_the_cue(run, looksharp, folder, tmp_path):
    cue = ("--cue_class", "red", "--without_cue", folder / "red", "--cue_alone", folder / "blue")
    out = looksharp("evaluate", run, "--device", "cpu", *cue, "--json", tmp_path / "values.json")
    tables, lines = read_tables(out)
    assert lines == []
    assert list(tables[""]["red"]) == ["without_cue", "cue_alone", "overall"]
    values = json.loads((tmp_path / "values.json").read_text())["splits"]["red"]
    assert {name: f"{value:.4f}" for name, value in values.items()} == tables[""]["red"]


def test_explain(run, looksharp, folder, tmp_path):
    images = [folder / "red" / "00.png", folder / "blue" / "00.png"]
    out = looksharp(
        "explain", run, *images, "--device", "cpu", "--classes", "red,blue", "--signed", "--out", tmp_path / "out"
    )
    files = [tmp_path / "out" / name for name in ("attention.png", "00.npz", "00-2.npz")]
    assert out.splitlines() == [str(path) for path in files]
    with Image.open(files[0]) as picture:
        picture.verify()
    assert np.load(files[1])["classes"].tolist() == ["red", "blue"]


def test_compose_then_train_and_evaluate(looksharp, tmp_path):
    for kind in ("land", "sea"):
        make_folder(tmp_path / kind, classes=(kind,), count=6, side=40)
    kinds = ("--backgrounds", f"land={tmp_path / 'land'},sea={tmp_path / 'sea'}")
    labels = ("--labels", "small=0+1+2+3+4,large=5+6+7+8+9")
    sizes = ("--size", "32", "--train", "24", "--val", "8", "--test", "8")
    out = looksharp("compose", "--foregrounds", "digits", *kinds, *labels, *sizes, "--out", tmp_path / "data")
    assert out == f"{tmp_path / 'data'}: train on it with looksharp train --data {tmp_path / 'data'}\n"
    guided = ("--objective", "gain+squared_error", "--marks", "data", "--marked", "4", "--marked_per_batch", "2")
    looksharp("train", "--data", tmp_path / "data", "--out", tmp_path / "run", *QUICK, *guided)
    tables, _ = read_tables(looksharp("evaluate", tmp_path / "run", "--device", "cpu", "--workers", "0"))
    assert list(tables[""]) == ["test_balanced", "test_biased"]
    assert all({"worst_group", "attention_inside"} <= values.keys() for values in tables[""].values())


def test_demo(looksharp, tmp_path, monkeypatch):
    from looksharp.curing import demo

    made = []
    monkeypatch.setattr(demo, "demo", lambda out, seed: made.append((out, seed)) or out / "report.html")
    out = looksharp("demo", "--out", tmp_path / "demo", "--seed", "4")
    assert made == [(tmp_path / "demo", 4)]
    assert out == f"Open {tmp_path / 'demo' / 'report.html'} in a browser.\n"


def test_interrupt_and_resume(looksharp, folder, tmp_path, monkeypatch, capfd):
    out, whole, calls = tmp_path / "run", Training.training_step, []
    train = ("train", "--data", folder, "--out", out, *QUICK, "--epochs", "3")

    def training_step(self, batch, batch_idx):
        calls.append(batch_idx)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return whole(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "training_step", training_step)
        assert cli.main([str(argument) for argument in train]) == 130
    said = capfd.readouterr().err.splitlines()[-1]
    assert said == "looksharp: interrupted; continue with --resume and the same --out"
    looksharp("train", "--resume", "--out", out)
    looksharp(*train[:4], tmp_path / "whole", *train[5:])
    assert (out / "model.safetensors").read_bytes() == (tmp_path / "whole" / "model.safetensors").read_bytes()
    assert load_run(out, device="cpu").config.training.epochs == 3


def test_an_interrupted_demonstration_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    from looksharp.curing import demo

    def interrupted(out, seed):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "demo", interrupted)
    assert cli.main(["demo", "--out", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "looksharp: interrupted; the same command goes on where it stopped\n"


# What does not ---------------------------------------------------------------------------------------------------


def test_images_that_are_missing(fails, tmp_path):
    def train(*flags):
        return fails("train", "--out", tmp_path / "run", *QUICK, *flags)

    assert train("--data", tmp_path / "nowhere") == f"data folder {tmp_path / 'nowhere'} does not exist"
    assert train("--data", "dgits") == (
        "data 'dgits' is neither a folder nor a set that is known; did you mean 'digits'?"
    )
    (tmp_path / "empty").mkdir()
    assert train("--data", tmp_path / "empty") == (
        f"{tmp_path / 'empty'} must hold a folder per class, at least two; found none"
    )
    one = make_folder(tmp_path / "one", classes=("red",))
    assert train("--data", one) == f"{one} must hold a folder per class, at least two; found only 'red'"
    empty = make_folder(tmp_path / "images")
    (empty / "white").mkdir()
    assert train("--data", empty) == f"class folder {empty / 'white'} holds no image"
    assert train("--data", "cifar10") == "root must name the folder that holds cifar10's files; nothing is downloaded"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("size", [24, 120])  # read at once, and by worker processes
@pytest.mark.parametrize("damage", ["truncated", "no image", "empty"])
def test_images_that_are_damaged(damage, size, fails, tmp_path, capfd):
    folder = make_folder(tmp_path / "images" / "train", side=size)
    make_folder(tmp_path / "images" / "val", count=1, side=size)
    for number in range(12):  # whichever is read first
        path = folder / "red" / f"{number:02d}.png"
        whole = path.read_bytes()
        path.write_bytes({"truncated": whole[: len(whole) // 2], "no image": b"hello", "empty": b""}[damage])
    arguments = ["train", "--data", folder.parent, "--out", tmp_path / "run", *QUICK, "--workers", "1"]
    status = cli.main([str(argument) for argument in (*arguments, "--image_size", size)])
    *progress, line = capfd.readouterr().err.replace("\r", "\n").splitlines()
    assert status == 2
    assert re.match(rf"looksharp: error: {folder}/red/\d\d\.png cannot be read as an image: ", line)
    assert not any("Traceback" in other for other in progress)
    if size == 24:
        assert not progress
        assert not (tmp_path / "run").exists()


def test_settings_that_do_not_fit(fails, folder, tmp_path):
    def train(*flags):
        return fails("train", "--data", folder, "--out", tmp_path / "run", *QUICK, *flags)

    assert train("--backbone", "resnt18").startswith("backbone 'resnt18' is not known; did you mean 'resnet18'")
    assert train("--classification.label_smooth", "1").startswith(
        "'--classification.label_smooth' is not an argument of train; did you mean --classification.label_smoothing?"
    )
    assert train("--objective", "gain_ext").startswith("objective part 'gain_ext' is not known; did you mean 'gain'?")
    assert train("--objective", "gain+squared_error").startswith("objective part squared_error reads marks, but ")
    message = train("--marks", tmp_path / "boxes.json")
    assert message.startswith("marks must be a COCO .json file, ")
    assert message.endswith(f"got {tmp_path / 'boxes.json'} (no such file or folder); correct the path")
    assert train("--marks", "data") == (f"marks is 'data', but {folder} has no masks; name a file or folder of marks")
    assert train("--architecture", "attention_branch", "--attention_branch.cut", "stage9").startswith(
        "architecture 'attention_branch' around backbone 'small': cut 'stage9' is no module of SmallNet; did you mean"
    )
    assert train("--architecture", "attention_branch", "--attention_branch.multitask") == (
        "attention_branch multitask needs images with several binary labels; these have one class"
    )
    assert train("--epochs", "0") == "epochs must be at least 1; got 0"
    assert train("--image_size", "0") == "image_size must be at least 1 and at most 8192; got 0"
    assert (
        train("--data", "digits", "--digits.train", "0") == "digits.train must be at least 1 and at most 500000; got 0"
    )
    assert train("--data", "digits", "--digits.train", "64", "--marks", "boxes.json") == (
        "marks from boxes.json need images that are files; digits is not an image folder"
    )
    assert fails("train", "--resume") == "resume needs the run folder: --out RUN"
    assert not (tmp_path / "run").exists()


def test_flags_that_are_not_there(fails):
    assert fails("train", "--trian_size", "64") == (
        "'--trian_size' is not an argument of train; did you mean --image_size?; see looksharp train --help"
    )
    assert fails("train", "--epoch", "64") == (
        "'--epoch' is not an argument of train; did you mean --epochs?; see looksharp train --help"
    )
    assert fails("train", "--epochs", "ten") == "epochs must be a whole number of at least 1; got 'ten'"
    assert fails("train", "--precision", "64-true") == (
        "precision must be '32-true', 'bf16-mixed' or '16-mixed'; got '64-true'; did you mean '32-true'?"
    )
    assert fails("train", "--batch-size=a-b") == "batch_size must be a whole number of at least 1; got 'a-b'"
    assert fails("train", "--select-by", "guess-it").endswith("; got 'guess-it'")
    assert fails("train", "--config", "nowhere.yaml") == "config nowhere.yaml does not exist"
    assert "required: runs" in fails("evaluate")
    assert fails("evaluate", "x", "--suite", "speed").startswith("suite 'speed' is not known; there are ")
    assert "required: images" in fails("explain", "run")
    assert "invalid choice: 'trian'" in fails("trian")
    assert fails().endswith("see looksharp --help")


def test_a_setting_of_a_config_that_is_not_there(fails, tmp_path):
    (tmp_path / "config.yaml").write_text("epoch: 3\n")
    assert fails("train", "--config", tmp_path / "config.yaml") == (
        f"{tmp_path / 'config.yaml'}: 'epoch' is not a setting; did you mean 'epochs'?"
    )


def test_runs_that_are_not_there(run, fails, folder, tmp_path):
    evaluate = ("evaluate", "--device", "cpu")
    assert fails(*evaluate, tmp_path / "nothing") == (
        f"{tmp_path / 'nothing'} is not a run folder: it has no config.yaml"
    )
    assert fails(*evaluate, run, tmp_path / "nothing") == (  # before the first is measured
        f"{tmp_path / 'nothing'} is not a run folder: it has no config.yaml"
    )
    (tmp_path / "unfinished").mkdir()
    for name in ("config.yaml", "run.json"):
        shutil.copy(run / name, tmp_path / "unfinished")
    assert fails(*evaluate, tmp_path / "unfinished") == (
        f"run folder {tmp_path / 'unfinished'} has no checkpoint checkpoints/last.ckpt; train it first"
    )
    assert fails("explain", tmp_path / "nothing", folder / "red" / "00.png") == (
        f"{tmp_path / 'nothing'} is not a run folder: it has no config.yaml"
    )
    assert fails("train", "--out", run, "--data", folder) == (
        f"{run} already holds a run; continue it with --resume, or choose another --out"
    )


def test_evaluations_that_do_not_fit(run, fails, folder, tmp_path):
    def evaluate(*flags):
        return fails("evaluate", run, "--device", "cpu", "--workers", "0", *flags)

    other = make_folder(tmp_path / "other", classes=("cat", "dog"))
    assert evaluate("--data", other) == (
        f"data {other} has other classes than the run: 2, first 'cat', and not 3, first 'blue'; "
        "map them by --class_map FILE"
    )
    assert evaluate("--mechanism", "guess").startswith(
        "mechanism 'guess' is not known; there are ablation_cam, cam, captum, channel_weighted"
    )
    assert evaluate("--layers", "stage1") == "layers must name two, the inner one and the last; got stage1"
    assert evaluate("--suite", "boxes") == f"suite boxes needs masks of objects, but {folder} has none"
    assert evaluate("--cue_class", "red") == "cue_class needs --without_cue FOLDER and --cue_alone FOLDER"
    cue = ("--without_cue", folder / "red", "--cue_alone", tmp_path / "nowhere")
    assert evaluate("--cue_class", "pink", *cue) == "class 'pink' is not one of the run's: blue, green, red"
    assert evaluate("--cue_class", "red", *cue[2:], "--without_cue", tmp_path / "nowhere") == (
        f"{tmp_path / 'nowhere'} does not exist"
    )
    assert "device must be auto, cpu or one of this machine's" in evaluate("--device", "gpu")


def test_explanations_that_do_not_fit(run, fails, folder, tmp_path):
    def explain(*arguments):
        return fails("explain", run, "--device", "cpu", "--out", tmp_path / "out", *arguments)

    image, text = folder / "red" / "00.png", tmp_path / "text.png"
    text.write_text("hello")
    assert explain(image, text).startswith(f"{text} cannot be read as an image: cannot identify its format")
    assert explain(image, tmp_path / "nothing.png").startswith(f"{tmp_path / 'nothing.png'} cannot be read as an image")
    assert explain(image, "--classes", "zebra") == "class 'zebra' is not one of the run's 3 classes: blue, green, red"
    assert explain(image, "--mechanism", "guess").startswith("mechanism 'guess' is not known")
    assert not (tmp_path / "out").exists()


def test_compositions_that_do_not_fit(fails, folder, tmp_path):
    def compose(*flags, kinds=(f"land={folder / 'red'}", f"sea={folder / 'blue'}")):
        return fails(
            "compose", "--foregrounds", "digits", "--backgrounds", ",".join(kinds), *flags, "--out", tmp_path / "out"
        )

    assert compose(kinds=["land"]) == "backgrounds must be given as NAME=VALUE; got 'land'"
    assert compose(kinds=[f"land={folder / 'red'}"]).startswith("backgrounds must be of at least two kinds")
    assert compose("--labels", "small,large") == "labels must be given as NAME=VALUE; got 'small'"
    assert compose("--labels", "small=0+1,large=77").startswith("label 'large' names '77', which is no foreground")
    assert compose("--rho", "2") == "rho must be a probability, 0 to 1; got 2.0"
    assert fails("compose", "--out", tmp_path / "out").startswith("the following arguments are required: ")
    assert not (tmp_path / "out").exists()


def test_the_help_shows_a_number_beside_a_word_where_both_are_taken(capsys):
    with pytest.raises(SystemExit):
        cli.main(["reproduce", "--help"])
    assert "--fold FOLD|all " in capsys.readouterr().out


def test_images_whose_classes_are_called_otherwise(run, folder, fails, looksharp, capfd, tmp_path):
    """The map is shown; classes of one name need none, and those left out are not measured."""
    capfd.readouterr()
    ours = ("--device", "cpu", "--workers", "0")
    other = make_folder(tmp_path / "other", classes=("BLUE", "grean", "mist"))
    assert fails("evaluate", run, "--data", other, *ours) == (
        f"class 'grean' of data {other} is none of the run's 3; did you mean 'green'?; state it by "
        "--class_map FILE, in which `grean: CLASS` maps it and `grean: -` leaves its images out"
    )
    (tmp_path / "map.yaml").write_text("grean: green\nmist: -\n")

    def table(*flags):
        assert cli.main(["evaluate", str(run), *flags, *ours]) == 0
        out, err = capfd.readouterr()
        return read_tables(out)[0][""]["test"]["top1"], err

    top1, said = table("--data", str(other), "--class-map", str(tmp_path / "map.yaml"))
    lines = said.splitlines()
    assert lines[:4] == [
        f"data {other}: 2 of the run's 3 classes, by this map",
        "BLUE   blue",
        "grean  green",
        "mist   - (its images are left out)",
    ]
    same = make_folder(tmp_path / "same", classes=("blue", "green"))
    expected, said = table("--data", str(same))
    assert (top1, said.splitlines()[0]) == (expected, f"data {same}: 2 of the run's 3 classes")
    assert table()[1].strip("\r ") == ""  # of its own classes nothing is said
    looksharp("suspects", run, "-n", 2, "--data", same, "--out", tmp_path / "suspects", *ours)
    form = json.loads((tmp_path / "suspects" / "annotations.json").read_text())
    assert [each["name"] for each in form["categories"]] == ["blue", "green"]
