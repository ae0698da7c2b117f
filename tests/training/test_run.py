import itertools
import json
import platform
import signal
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
import yaml
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, average_precision_score, log_loss
from torch import nn

from looksharp.data.sets.synthetic import biased_digits, digits
from looksharp.networks import build_network
from looksharp.objectives import Sum
from looksharp.training import load_run, train
from looksharp.training import run as run_module
from looksharp.training.folder import read_config
from looksharp.training.history import read_history
from looksharp.training.module import Training
from looksharp.training.run import prepared_objective
from looksharp.training.settings import RunConfig

BATCH, IMAGES = 16, 64
STEPS = IMAGES // BATCH


@pytest.fixture(scope="module")
def data():
    return digits(train=IMAGES, val=32, test=32)


@pytest.fixture(scope="module")
def several(data):
    """The same images, several labels each: the digit, whether it is odd (as class 0 or 1), and now and then 9."""
    splits = {}
    for name, split in data.splits.items():
        targets = nn.functional.one_hot(split.targets, 10)
        targets[torch.arange(len(split)), split.targets % 2] = 1
        targets[::3, 9] = 1
        targets[5] = 0
        splits[name] = replace(split, targets=targets, marks=None)
    return replace(data, splits=splits)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Images that are too large to be kept in memory: read and augmented one by one."""
    root = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for split, count in {"train": 8, "val": 3}.items():
        for label in ("cat", "dog"):
            (root / split / label).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 255, (100, 110, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / label / f"{number}.png")
    return root


def settings(objective="classification", options=None, **values):
    given = {"data": "digits", "device": "cpu", "workers": 0, "epochs": 1, "batch_size": BATCH}
    if values.get("data", "digits") == "digits":
        given["digits"] = {"train": IMAGES}
    return RunConfig.from_flat({"objective": objective, objective.split("+")[0]: options} | given | values)


def weights(path, name="last"):
    return torch.load(path / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def interrupt(monkeypatch, step, error=KeyboardInterrupt):
    """Let training end at the given step, counted from 1 over all epochs."""
    steps, whole = itertools.count(1), Training.training_step

    def training_step(self, batch, batch_idx):
        if next(steps) == step:
            raise error
        return whole(self, batch, batch_idx)

    monkeypatch.setattr(Training, "training_step", training_step)


def score(monkeypatch, *scores):
    """Let validation find these scores, epoch by epoch."""
    found = iter(scores)
    monkeypatch.setattr(Training, "on_validation_epoch_end", lambda self: self.log(self.score_name, next(found)))


# What a run leaves -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    config = settings("icasc", {"preset": "paper", "consistency": 0.5}, epochs=2, lr=0.02)
    return train(config, tmp_path_factory.mktemp("runs") / "icasc", data=data, progress=False)


def test_files(finished):
    found = {path.relative_to(finished.path).as_posix() for path in finished.path.rglob("*") if path.is_file()}
    assert found == {
        "config.yaml",
        "run.json",
        "metrics.csv",
        "model.safetensors",
        "checkpoints/last.ckpt",
        "checkpoints/best.ckpt",
    }


def test_settings_go_round(finished):
    assert read_config(finished.path) == finished.config
    assert yaml.safe_load((finished.path / "config.yaml").read_text())["objective"][0]["icasc"]["consistency"] == 0.5


def test_facts(finished, data):
    facts = json.loads((finished.path / "run.json").read_text())
    assert facts["classes"] == list("0123456789")
    pixels = {"size": [48, 48], "mean": [0.4] * 3, "std": [0.25] * 3, "crop_share": 1.0, "value_range": None}
    resized = {
        "resize_size": None,
        "interpolation": "bilinear",
        "resizer": "torch",
        "antialias": True,
        "middle": "round",
    }
    assert facts["pixels"] == pixels | resized | {"fit": "crop"}
    assert facts["images"] == {"train": 64, "val": 32, "test": 32}
    assert facts["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert facts["versions"]["timm"] == timm.__version__
    assert facts["versions"]["python"] == platform.python_version()
    assert facts["versions"].keys() >= {"looksharp", "torchvision", "lightning"}
    assert (facts["seed"], facts["marked"], facts["multilabel"], facts["data"]) == (0, 0, False, "digits")
    assert facts["seconds"] == pytest.approx(sum(row["seconds"] for row in finished.history))


def test_history_has_a_row_an_epoch_and_every_term(finished):
    rows = finished.history
    assert [row["epoch"] for row in rows] == [0, 1]
    for row in rows:
        terms = ("train_classification", "train_separation_inner", "train_separation_last", "train_consistency")
        assert row.keys() == {"epoch", "seconds", "lr", "train_loss", *terms, "val_loss", "val_top1"}
        total = sum(row[name] for name in terms) - 0.5 * row["train_consistency"]  # its weight is .5
        assert row["train_loss"] == pytest.approx(total, abs=1e-5)


def test_validation_values_are_those_of_the_model(finished, data):
    val = data.splits["val"]
    with torch.no_grad():
        odds = finished.model(data.pixels.normalize(val.images)).softmax(1).double()
    row = finished.history[-1]
    assert row["val_top1"] == pytest.approx(accuracy_score(val.targets, odds.argmax(1)))
    odds = odds / odds.sum(1, keepdim=True)
    assert row["val_loss"] == pytest.approx(log_loss(val.targets, odds, labels=range(10)), abs=1e-5)


def test_checkpoints_load_as_weights_only_and_give_the_run_back(finished, data):
    images = data.pixels.normalize(data.splits["test"].images[:8])
    expected = finished.model(images)
    loaded = load_run(finished.path, device="cpu")
    assert torch.equal(loaded.model(images), expected)
    assert not loaded.model.training
    assert (loaded.config, loaded.classes, loaded.pixels) == (finished.config, finished.classes, finished.pixels)
    assert loaded.seconds == finished.seconds
    assert loaded.history == finished.history
    assert weights(finished.path, "best").keys() == weights(finished.path).keys()


def test_best_is_the_epoch_with_the_best_score(data, tmp_path, monkeypatch):
    score(monkeypatch, 0.1, 0.5, 0.5, 0.2)
    train(settings(epochs=4), tmp_path / "run", data=data, progress=False)
    best, last = (
        torch.load(tmp_path / "run" / "checkpoints" / f"{name}.ckpt", weights_only=True) for name in ("best", "last")
    )
    assert (best["epoch"], last["epoch"]) == (1, 3)
    assert_same(
        load_run(tmp_path / "run", "best", "cpu").model.state_dict(),
        {name.removeprefix("model."): v for name, v in best["state_dict"].items() if name.startswith("model.")},
    )


@pytest.mark.parametrize("backbone", ["resnet10t", "test_vit", "torchvision/shufflenet_v2_x0_5", "cifar_resnet20"])
def test_safetensors_load_into_the_plain_network(backbone, data, tmp_path):
    small = {
        name: replace(split, images=split.images[:16], targets=split.targets[:16], marks=None)
        for name, split in data.splits.items()
    }
    few = replace(data, splits=small)
    run = train(settings(backbone=backbone, batch_size=8), tmp_path / "run", data=few, progress=False)
    if backbone in timm.list_models():
        plain = timm.create_model(backbone, num_classes=10)
    else:
        plain = build_network(backbone, 10)
    state = load_file(run.path / "model.safetensors")
    plain.load_state_dict(state, strict=True)
    images = data.pixels.normalize(small["test"].images[:4])
    with torch.no_grad():
        assert torch.equal(plain.eval()(images), run.model(images))
    with safe_open(run.path / "model.safetensors", "pt") as file:
        assert file.metadata() == {"backbone": backbone}


# Seeds and resuming ----------------------------------------------------------------------------------------------


def test_the_seed_determines_the_weights(data, tmp_path):
    runs = [
        train(settings(seed=seed, augment="crop_flip"), tmp_path / str(number), data=data, progress=False)
        for number, seed in enumerate((3, 3, 4))
    ]
    first, same, other = (run.model.state_dict() for run in runs)
    assert_same(same, first)
    assert not torch.equal(other["fc.weight"], first["fc.weight"])
    assert not torch.equal(other["fc.bias"], first["fc.bias"])


CASES = {
    "classification": settings(epochs=3, augment="crop_flip"),
    "label smoothing, adamw, clipped": settings(
        options={"label_smoothing": 0.1}, epochs=3, optimizer="adamw", lr=1e-3, clip=1.0
    ),
    "icasc with warm-up": settings("icasc", {"warmup": 10}, epochs=3, lr=0.02),
    "gain with guidance": settings(
        "gain+squared_error",
        {"warmup": 7},
        epochs=3,
        lr=0.02,
        augment="crop_flip",
        marks="data",
        marked=12,
        marked_per_batch=4,
        squared_error={"warmup": 11},
    ),
    "contrast": settings("classification+contrast", epochs=3, lr=0.02, marks="data", marked=12, marked_per_batch=3),
    "background exchange": settings(
        "classification+agreement:0.5+contrast", epochs=3, lr=0.02, marks="data", marked=12, marked_per_batch=6
    ),
}


def assert_continues(config, data, folder, monkeypatch, step):
    """A run that is interrupted at a step and resumed ends as one that is not."""
    whole = train(config, folder / "whole", data=data, progress=False)
    with monkeypatch.context() as patch:
        interrupt(patch, step)
        with pytest.raises(KeyboardInterrupt):
            train(config, folder / "broken", data=data, progress=False)
    assert not (folder / "broken" / "model.safetensors").exists()
    resumed = train(config, folder / "broken", data=data, resume=True, progress=False)
    assert_same(weights(resumed.path), weights(whole.path))
    assert_same(resumed.model.state_dict(), whole.model.state_dict())
    rows = [[{k: v for k, v in row.items() if k != "seconds"} for row in run.history] for run in (whole, resumed)]
    assert rows[0] == rows[1]
    assert len(rows[0]) == config.training.epochs
    assert_same(load_file(resumed.path / "model.safetensors"), load_file(whole.path / "model.safetensors"))
    best = [torch.load(run.path / "checkpoints/best.ckpt", weights_only=True)["epoch"] for run in (whole, resumed)]
    assert best[0] == best[1]


@pytest.mark.parametrize("name", CASES)
def test_an_interrupted_run_continues_to_the_same_end(name, data, tmp_path, monkeypatch):
    assert_continues(CASES[name], data, tmp_path, monkeypatch, STEPS + 2)


def test_so_does_one_that_reads_files(photographs, tmp_path, monkeypatch):
    config = settings(data=str(photographs), image_size=98, epochs=3, batch_size=4)
    assert_continues(config, None, tmp_path, monkeypatch, 6)


def test_so_does_one_with_dropout(data, tmp_path, monkeypatch):
    def net(config, classes, *_):
        return nn.Sequential(nn.Conv2d(3, 4, 5, 5), nn.ReLU(), nn.Flatten(), nn.Dropout(), nn.Linear(324, classes))

    monkeypatch.setattr(run_module, "build_model", net)
    assert_continues(settings(epochs=3), data, tmp_path, monkeypatch, STEPS + 2)


def test_so_does_one_interrupted_in_its_first_epoch_or_between_epochs(data, tmp_path, monkeypatch):
    for step in (2, STEPS + 1):
        assert_continues(settings(epochs=2), data, tmp_path / str(step), monkeypatch, step)


def test_resuming_refuses_other_settings_by_name(data, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt(patch, STEPS + 1)
        with pytest.raises(KeyboardInterrupt):
            train(settings(epochs=2, lr=0.02), tmp_path / "run", data=data, progress=False)
    with pytest.raises(ValueError, match=r"run holds a run of other settings \(lr 0.02, now 9.0\)"):
        train(settings(epochs=2, lr=9.0), tmp_path / "run", data=data, resume=True, progress=False)
    with pytest.raises(ValueError, match="run is a run of 2 epochs; it can be continued to more, not to 1"):
        train(settings(epochs=1, lr=0.02), tmp_path / "run", data=data, resume=True, progress=False)
    resumed = train(settings(epochs=2, lr=0.02, workers=1), tmp_path / "run", data=data, resume=True, progress=False)
    assert (resumed.config.training.epochs, resumed.config.optimization.lr) == (2, 0.02)
    assert len(resumed.history) == 2


def test_a_finished_run_trains_on_for_more_epochs(data, tmp_path):
    run = train(settings(epochs=1, schedule="constant"), tmp_path / "run", data=data, progress=False)
    longer = train(settings(epochs=3, schedule="constant"), run.path, data=data, resume=True, progress=False)
    whole = train(settings(epochs=3, schedule="constant"), tmp_path / "whole", data=data, progress=False)
    assert len(longer.history) == 3
    assert_same(longer.model.state_dict(), whole.model.state_dict())
    assert load_run(run.path, device="cpu").config.training.epochs == 3


def test_resuming_a_finished_run_changes_nothing(data, tmp_path):
    run = train(settings(), tmp_path / "run", data=data, progress=False)
    again = train(settings(), tmp_path / "run", data=data, resume=True, progress=False)
    assert_same(again.model.state_dict(), run.model.state_dict())
    assert again.history == run.history
    assert again.seconds == run.seconds


def test_resuming_what_was_never_begun_begins(data, tmp_path):
    run = train(settings(), tmp_path / "run", data=data, resume=True, progress=False)
    assert len(run.history) == 1


def test_ctrl_c_works_afterwards(data, tmp_path, monkeypatch):
    before = signal.getsignal(signal.SIGINT)
    interrupt(monkeypatch, 1)
    with pytest.raises(KeyboardInterrupt):
        train(settings(), tmp_path / "run", data=data, progress=False)
    assert signal.getsignal(signal.SIGINT) is before


def test_early_stopping(data, tmp_path, monkeypatch):
    score(monkeypatch, 0.1, 0.5, 0.4, 0.5, 0.6)
    run = train(settings(epochs=9, patience=2), tmp_path / "run", data=data, progress=False)
    assert [row["val_top1"] for row in run.history] == pytest.approx([0.1, 0.5, 0.4, 0.5])
    assert torch.load(run.path / "checkpoints/best.ckpt", weights_only=True)["epoch"] == 1


def test_early_stopping_remembers_over_an_interruption(data, tmp_path, monkeypatch):
    config = settings(epochs=9, patience=2)
    score(monkeypatch, 0.5, 0.4, 0.3, 0.6)
    with monkeypatch.context() as patch:
        interrupt(patch, 2 * STEPS + 1)
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "run", data=data, progress=False)
    run = train(config, tmp_path / "run", data=data, resume=True, progress=False)
    assert [row["val_top1"] for row in run.history] == pytest.approx([0.5, 0.4, 0.3])


# What training is given ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", ["classification", "icasc", "gain"])
def test_bfloat16(objective, data, tmp_path):
    run = train(settings(objective, precision="bf16-mixed"), tmp_path / "run", data=data, progress=False)
    assert all(value.dtype != torch.bfloat16 for value in run.model.state_dict().values())
    assert all(np.isfinite(value) for value in run.history[0].values())


@pytest.mark.parametrize(
    ("precision", "optimizer"), [("16-mixed", "sgd"), ("16-mixed", "adamw"), ("bf16-mixed", "sgd")]
)
def test_gradients_are_clipped_in_mixed_precision(precision, optimizer, data, tmp_path):
    config = settings(precision=precision, optimizer=optimizer, clip=1.0)
    run = train(config, tmp_path / "run", data=data, progress=False)
    assert all(np.isfinite(value) for value in run.history[0].values())


@pytest.mark.parametrize("objective", ["classification", "icasc", "gain"])
def test_several_labels(objective, several, tmp_path):
    run = train(settings(objective, lr=0.02), tmp_path / "run", data=several, progress=False)
    assert run.multilabel
    assert load_run(run.path, device="cpu").multilabel
    val = several.splits["val"]
    with torch.no_grad():
        odds = run.model(several.pixels.normalize(val.images)).sigmoid().numpy()
    targets = val.targets.numpy()
    (row,) = run.history
    occur = targets.any(0)
    expected = average_precision_score(targets[:, occur], odds[:, occur], average="macro")
    assert row["val_map"] == pytest.approx(expected, abs=1e-5)
    expected = -np.where(targets == 1, np.log(odds), np.log(1 - odds)).mean()
    assert row["val_loss"] == pytest.approx(expected, abs=1e-5)
    assert "val_top1" not in row


def test_a_class_that_validation_lacks_is_left_out_of_the_mean(several, tmp_path):
    val = several.splits["val"]
    without = val.targets.clone()
    without[:, 9] = 0
    rare = replace(several, splits=several.splits | {"val": replace(val, targets=without)})
    run = train(settings(), tmp_path / "run", data=rare, progress=False)
    with torch.no_grad():
        odds = run.model(several.pixels.normalize(val.images)).sigmoid().numpy()
    expected = average_precision_score(without[:, :9], odds[:, :9], average="macro")
    assert run.history[0]["val_map"] == pytest.approx(expected, abs=1e-5)


def test_label_smoothing_reaches_the_loss(data, tmp_path):
    """Of a network whose logits are all 0 nothing is seen; of one that is sure, smoothing costs what it should."""
    config = settings(options={"label_smoothing": 0.4}, lr=1e-12, batch_size=IMAGES, momentum=0.0)
    smoothed = train(config, tmp_path / "smoothed", data=data, progress=False)
    torch.manual_seed(0)
    run_module.seed_everything(0, workers=True, verbose=False)
    model = build_network("small", 10).train()
    train_split = data.splits["train"]
    logits = model(data.pixels.normalize(train_split.images)).double()
    chosen = nn.functional.one_hot(train_split.targets, 10) * 0.6 + 0.4 / 10
    expected = -(chosen * logits.log_softmax(1)).sum(1).mean()
    assert smoothed.history[0]["train_classification"] == pytest.approx(expected.item(), abs=1e-4)


def test_guidance_is_only_what_was_asked_for(data, tmp_path):
    config = settings("gain+squared_error", marks="data", marked=6, marked_per_batch=2, lr=0.02)
    run = train(config, tmp_path / "guided", data=data, progress=False)
    assert json.loads((run.path / "run.json").read_text())["marked"] == 6
    assert "train_guidance" in run.history[0]
    plain = train(settings("gain", lr=0.02), tmp_path / "plain", data=data, progress=False)
    assert "train_guidance" not in plain.history[0]


def test_separation_at_three_layers_is_logged_layer_by_layer(data, tmp_path):
    config = settings("icasc", {"layers": ["stage1", "stage2", "stage3"]}, lr=0.02)
    logged = train(config, tmp_path / "run", data=data, progress=False).history[0]
    assert {"train_separation_stage1", "train_separation_inner", "train_separation_last"} <= logged.keys()


def test_places_drawn_for_their_marks_are_the_external_stream(data, tmp_path, monkeypatch):
    """The objective is told how many of a batch's last images they are, and they are marked ones."""
    found, whole = [], Sum.forward

    def forward(self, model, batch):
        found.append((batch.external, batch.marks))
        return whole(self, model, batch)

    monkeypatch.setattr(Sum, "forward", forward)
    config = settings("gain+squared_error", marks="data", marked=6, marked_per_batch=3, lr=0.02)
    train(config, tmp_path / "guided", data=data, progress=False)
    assert found
    for external, marks in found:
        assert external == 3
        assert {BATCH - 3, BATCH - 2, BATCH - 1} <= set(marks.sample.tolist())
    found.clear()
    train(settings("gain", lr=0.02), tmp_path / "plain", data=data, progress=False)
    assert {external for external, _ in found} == {0}


def seen(monkeypatch, config, data, folder):
    """The targets and groups of every training image of a run, in order."""
    found, whole = [], Training.training_step

    def training_step(self, batch, batch_idx):
        found.append((batch.target, batch.group))
        return whole(self, batch, batch_idx)

    monkeypatch.setattr(Training, "training_step", training_step)
    run = train(config, folder, data=data, progress=False)
    targets, groups = zip(*found, strict=True)
    return run, torch.cat(targets), groups


def test_classes_are_balanced_where_asked(data, tmp_path, monkeypatch):
    few = data.splits["train"].targets.clone()
    few[few > 1] = 2
    rare = replace(data, splits=data.splits | {"train": replace(data.splits["train"], targets=few)})
    _, targets, _ = seen(monkeypatch, settings(balance="class"), rare, tmp_path / "run")
    assert sorted(targets.bincount().tolist()) == [21, 21, 22]


@pytest.fixture(scope="module")
def biased():
    return biased_digits(0.9, train=IMAGES, val=32, test=32)


def test_group_dro_knows_the_groups_and_their_balance(biased, tmp_path, monkeypatch):
    config = settings("group_dro", {"step_size": 0.1, "adjustment": 2.0}, balance="group", epochs=2, lr=0.02)
    sizes = biased.splits["train"].groups.bincount()
    assert prepared_objective(config, biased).parts[0].adjustments.tolist() == (
        pytest.approx([2 / size**0.5 for size in sizes.tolist()])
    )
    run, _, groups = seen(monkeypatch, config, biased, tmp_path / "run")
    assert torch.cat(groups).bincount().tolist() == [IMAGES, IMAGES]
    saved = torch.load(run.path / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    (name,) = [name for name in saved if name.endswith("log_weights")]
    assert saved[name].min() > 0.1 * 2 * STEPS * 2 / sizes.max() ** 0.5  # the adjustments alone, and the losses


def test_group_dro_continues_to_the_same_end(biased, tmp_path, monkeypatch):
    config = settings("group_dro", {"step_size": 0.5}, balance="group", epochs=3, lr=0.02)
    assert_continues(config, biased, tmp_path, monkeypatch, STEPS + 2)


# Errors ----------------------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite(data, tmp_path):
    config = settings(lr=1e20, epochs=2)
    with pytest.raises(
        ValueError, match=r"^the loss is (inf|nan) at epoch 0, step 1: lower --lr \(now 1e\+20\), clip gradients"
    ):
        train(config, tmp_path / "run", data=data, progress=False)
    run = train(settings(lr=0.02), tmp_path / "run", data=data, progress=False)  # the same folder may be tried again
    assert run.config.optimization.lr == 0.02


def test_divergence_later_on_keeps_what_there_is(data, tmp_path, monkeypatch):
    whole, steps = Training.training_step, itertools.count(1)

    def training_step(self, batch, batch_idx):
        if next(steps) == STEPS + 2:
            batch = replace(batch, image=batch.image * torch.nan)
        return whole(self, batch, batch_idx)

    monkeypatch.setattr(Training, "training_step", training_step)
    with pytest.raises(ValueError, match="the loss is nan at epoch 1, step 1"):
        train(settings(epochs=2), tmp_path / "run", data=data, progress=False)
    assert len(read_history(tmp_path / "run" / "metrics.csv")) == 1
    assert load_run(tmp_path / "run", device="cpu").config.training.epochs == 2


def test_a_folder_that_holds_a_run(finished, data):
    with pytest.raises(ValueError, match=r"icasc already holds a run; continue it with --resume, or choose another"):
        train(finished.config, finished.path, data=data, progress=False)


def test_no_run_folder(tmp_path):
    with pytest.raises(ValueError, match=r"nothing is not a run folder: it has no config\.yaml"):
        load_run(tmp_path / "nothing")
    (tmp_path / "config.yaml").touch()
    with pytest.raises(ValueError, match=r"is not a run folder: it has no run\.json"):
        load_run(tmp_path)


def test_a_run_folder_without_checkpoint(data, tmp_path, monkeypatch):
    interrupt(monkeypatch, 1)
    with pytest.raises(KeyboardInterrupt):
        train(settings(), tmp_path / "run", data=data, progress=False)
    for name in ("last", "best"):
        with pytest.raises(ValueError, match=rf"run has no checkpoint checkpoints/{name}\.ckpt; train it first"):
            load_run(tmp_path / "run", name)


@pytest.mark.parametrize("left", [0, 3000])
def test_a_damaged_checkpoint(left, data, tmp_path):
    run = train(settings(), tmp_path / "run", data=data, progress=False)
    path = run.path / "checkpoints" / "last.ckpt"
    path.write_bytes(path.read_bytes()[:left])
    message = r"last\.ckpt cannot be read as a checkpoint: it is damaged; train again"
    with pytest.raises(ValueError, match=message):
        load_run(run.path)
    with pytest.raises(ValueError, match=message):
        train(settings(), run.path, data=data, resume=True, progress=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs: [", "config.yaml is not YAML"),
        ("", "must hold a run's settings"),
        ("epoch: 3", "config.yaml: 'epoch' is not a setting; did you mean 'epochs'"),
    ],
)
def test_a_damaged_config(text, message, tmp_path):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_config(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("epochs", 0, "epochs must be at least 1; got 0"),
        ("batch_size", 0, "batch_size must be at least 1; got 0"),
        ("devices", 0, "devices must be at least 1; got 0"),
        ("seed", -1, "seed must be at least 0; got -1"),
        ("workers", -1, "workers must be at least 0; got -1"),
        ("lr", 0.0, "lr must be above 0; got 0"),
        ("lr", float("nan"), "lr must be above 0; got nan"),
        ("clip", -1.0, "clip must be above 0; got -1"),
        ("epoch", 3, "'epoch' is not a setting; did you mean 'epochs'"),
        ("schedule", "cosin", "schedule must be 'cosine', 'step' or 'constant'; got 'cosin'; did you mean 'cosine'"),
        ("precision", "bf16", "precision must be '32-true', 'bf16-mixed' or '16-mixed'; got 'bf16'"),
        ("batch_size", 64.5, "batch_size must be a whole number of at least 1; got 64.5"),
        ("epochs", True, "epochs must be a whole number of at least 1; got True"),
        ("momentum", 5, "momentum must be at least 0 and below 1; got 5"),
        ("gamma", -1, "gamma must be above 0; got -1"),
        ("patience", -1, "patience must be at least 1; got -1"),
        ("milestones", [-1], "milestones must be at least 1; got -1"),
        ("milestones", [3, 2], "milestones must rise; got 3, 2"),
        ("marked", 4, "marked needs marks: name a file or folder of them by marks"),
    ],
)
def test_settings_that_cannot_be(name, value, message):
    with pytest.raises(ValueError, match=message):
        settings(**{name: value})


def test_objectives_and_options_that_are_not_there():
    with pytest.raises(ValueError, match="objective part 'icask' is not known; did you mean 'icasc'"):
        settings("icask")
    with pytest.raises(ValueError, match=r"'icasc.alpha' is not a setting; there are mechanism, "):
        settings("icasc", {"alpha": 1})
    with pytest.raises(ValueError, match=r"icasc\.theta must be a number; got nan"):
        settings("icasc", {"theta": float("nan")})
    with pytest.raises(ValueError, match=r"objective needs one part that classifies, .* got agreement"):
        settings("agreement")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"backbone": "resnt18"}, "backbone 'resnt18' is not known; did you mean 'resnet18'"),
        (
            {"backbone": "torchvision/vit_b_32"},
            r"'torchvision/vit_b_32' does not take images of 48 x 48 px: Wrong image height! Expected 224 but got 48",
        ),
        ({"device": "mps" if torch.cuda.is_available() else "cuda"}, "device must be auto, cpu or one of this machine"),
        ({"marks": "data", "marked": 65}, "marked is 65, which makes 65 images; 64 are marked"),
        ({"marks": "data", "marked_per_batch": 16}, "marked_per_batch must be 0 to 15, below batch_size; got 16"),
        ({"augment": "resized_crop_flip"}, "augment must be none, flip, crop or crop_flip for images held in memory"),
        ({"balance": "group"}, "balance 'group' needs the images' groups, but they are not known; give the data a g"),
        ({"objective": "group_dro"}, "group_dro needs the group of every image, but groups are not known; give the"),
    ],
)
def test_nothing_is_left_by_settings_that_do_not_fit(values, message, data, tmp_path):
    with pytest.raises(ValueError, match=message):
        train(settings(**values), tmp_path / "run", data=data, progress=False)
    assert not (tmp_path / "run").exists()


def test_attention_for_several_tasks_with_labels_that_are_not_known(several, tmp_path):
    splits = {name: replace(split, targets=split.targets.clone()) for name, split in several.splits.items()}
    for split in splits.values():
        split.targets[::4, 2:5] = -1
    config = settings(architecture="attention_branch", attention_branch={"multitask": True})
    trained = train(config, tmp_path / "run", data=replace(several, splits=splits), progress=False)
    assert {"train_branch", "val_map"} <= trained.history[-1].keys()
    assert trained.config.network.settings["multitask"] is True
    read = load_run(tmp_path / "run", device="cpu")
    assert read.config == config
    images = torch.rand(3, 3, *read.pixels.size)
    with torch.no_grad():
        assert torch.equal(read.model(images), trained.model(images))
        assert read.model.explained(images).maps.shape[1] == 10
