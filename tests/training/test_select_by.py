from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import accuracy_score
from torch import nn

from looksharp.batch import Batch
from looksharp.data.folder import read_folder
from looksharp.data.hold_out import hold_out
from looksharp.data.sampling import InOrder
from looksharp.data.sets.synthetic import biased_digits
from looksharp.data.splits.files import FileSplit
from looksharp.interventions.exchanged_split import exchanged_split
from looksharp.marks.marks import Marks
from looksharp.objectives import Classification
from looksharp.training import load_run, train
from looksharp.training.module import Training, score_name
from looksharp.training.selection import EXCHANGED, validation_splits
from looksharp.training.settings import OptimizationConfig, RunConfig


@pytest.fixture(scope="module")
def data():
    return biased_digits(0.5, 32, 60, 8)


def settings(**values):
    given = {
        "data": "biased_digits",
        "biased_digits": {"train": 32},
        "device": "cpu",
        "workers": 0,
        "epochs": 1,
        "batch_size": 16,
    }
    if "data" in values:
        del given["biased_digits"]
    return RunConfig.from_flat(given | values)


def logits(run, split):
    batch = next(iter(split.loader(InOrder(len(split), len(split)), run.pixels)))
    with torch.no_grad():
        return run.model(batch.image)


# What is logged ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("multilabel", "select_by", "expected"),
    [
        (False, "score", "val_top1"),
        (True, "score", "val_map"),
        (False, "worst_group", "val_worst_group"),
        (True, "exchanged_across", "val_exchanged_across"),
    ],
)
def test_the_name_of_the_score(multilabel, select_by, expected):
    assert score_name(multilabel, select_by) == expected


def test_settings_go_round():
    assert settings().training.select_by == "score"
    config = settings(select_by="exchanged_across")
    assert RunConfig.from_flat(config.flat()) == config


def test_worst_group_is_the_lowest_accuracy_of_a_group(data, tmp_path):
    run = train(settings(select_by="worst_group"), tmp_path / "run", data=data, progress=False)
    val = data.splits["val"]
    answers = logits(run, val).argmax(1)
    groups = [accuracy_score(val.targets[val.groups == g], answers[val.groups == g]) for g in (0, 1)]
    assert run.history[0]["val_worst_group"] == pytest.approx(min(groups))
    assert run.history[0]["val_top1"] == pytest.approx(accuracy_score(val.targets, answers))
    assert "val_exchanged_across" not in run.history[0]


def test_exchanged_across_is_the_accuracy_in_foreign_surroundings(data, tmp_path):
    run = train(settings(select_by="exchanged_across", seed=3), tmp_path / "run", data=data, progress=False)
    exchanged = exchanged_split(data.splits["val"], data.pixels, seed=3)
    assert len(exchanged) == 60
    answers = logits(run, exchanged).argmax(1)
    assert run.history[0]["val_exchanged_across"] == pytest.approx(accuracy_score(exchanged.targets, answers))
    val = data.splits["val"]
    assert run.history[0]["val_top1"] == pytest.approx(accuracy_score(val.targets, logits(run, val).argmax(1)))
    assert "val_worst_group" not in run.history[0]


class Fixed(nn.Module):
    """Answers of a table, by the first pixel's value."""

    def __init__(self, table):
        super().__init__()
        self.table = nn.Parameter(torch.tensor(table))

    def forward(self, images):
        return self.table[images[:, 0, 0, 0].long()]


def validated(model, *loaders, **options):
    """What a module logs after the batches of one or two loaders."""
    module = Training(model, Classification(), OptimizationConfig(), classes=3, steps_per_epoch=1, epochs=1, **options)
    found = {}
    module.log = lambda name, value, **_: found.update({name: float(value)})
    for number, batches in enumerate(loaders):
        for place, batch in enumerate(batches):
            module.validation_step(batch, place, number)
    module.on_validation_epoch_end()
    return found


def batch(rows, targets, group=None):
    images = torch.tensor(rows).float()[:, None, None, None].expand(-1, 3, 2, 2)
    return Batch(images, torch.tensor(targets), group=None if group is None else torch.tensor(group))


def test_a_group_without_images_is_not_the_worst():
    model = Fixed([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]])
    batches = [batch([0, 1, 2], [0, 1, 1], [0, 2, 0]), batch([0, 2], [0, 2], [0, 2])]
    found = validated(model, batches, multilabel=False, select_by="worst_group", groups=4)
    assert found["val_worst_group"] == pytest.approx(2 / 3)


def test_of_several_labels_the_object_counts_if_it_is_more_likely_than_not():
    model = Fixed([[2.0, 0.1, -1], [-0.1, -2, -3]])
    plain = [batch([0, 1], [[1, 1, 0], [0, 0, 1]])]
    exchanged = [batch([0, 0, 0], [0, 1, 2]), batch([1, 1], [0, 1])]
    found = validated(model, plain, exchanged, multilabel=True, select_by="exchanged_across")
    assert found.keys() == {"val_map", "val_loss", "val_exchanged_across"}
    assert found["val_exchanged_across"] == pytest.approx(2 / 5)


# What is chosen ----------------------------------------------------------------------------------------------------


def scores(monkeypatch, name, chosen, top1):
    chosen, top1 = iter(chosen), iter(top1)

    def on_validation_epoch_end(self):
        self.log(name, next(chosen))
        self.log("val_top1", next(top1))

    monkeypatch.setattr(Training, "on_validation_epoch_end", on_validation_epoch_end)


def epoch(path, name):
    return torch.load(path / "checkpoints" / f"{name}.ckpt", weights_only=True)["epoch"]


@pytest.mark.parametrize("select_by", ["worst_group", "exchanged_across"])
def test_the_best_checkpoint_is_chosen_by_it(monkeypatch, data, tmp_path, select_by):
    scores(monkeypatch, f"val_{select_by}", [0.2, 0.6, 0.4], [0.7, 0.8, 0.9])
    run = train(settings(select_by=select_by, epochs=3), tmp_path / "run", data=data, progress=False)
    assert (epoch(run.path, "best"), epoch(run.path, "last")) == (1, 2)
    assert load_run(run.path, "best").config.training.select_by == select_by


def test_by_default_the_best_checkpoint_is_the_most_accurate(monkeypatch, data, tmp_path):
    scores(monkeypatch, "val_exchanged_across", [0.2, 0.6, 0.4], [0.7, 0.8, 0.9])
    run = train(settings(epochs=3), tmp_path / "run", data=data, progress=False)
    assert epoch(run.path, "best") == 2


def test_training_stops_by_it(monkeypatch, data, tmp_path):
    scores(monkeypatch, "val_worst_group", [0.5, 0.4, 0.3, 0.9], [0.1, 0.2, 0.3, 0.4])
    config = settings(select_by="worst_group", epochs=4, patience=2)
    run = train(config, tmp_path / "run", data=data, progress=False)
    assert len(run.history) == 3


# What it validates on ----------------------------------------------------------------------------------------------


def test_the_score_needs_nothing_more(data):
    val = data.splits["val"]
    assert validation_splits(data, "score", 0) == [val]
    assert validation_splits(data, "worst_group", 0) == [val]


def test_exchanged_images_are_limited():
    data = biased_digits(1.0, 8, EXCHANGED + 40, 8)
    val, exchanged = validation_splits(data, "exchanged_across", 0)
    assert (len(val), len(exchanged)) == (EXCHANGED + 40, EXCHANGED)


def test_images_in_files(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("train", "val"):
        for label in ("cat", "dog"):
            for number in range(2):
                for home, pixels in (("", rng.integers(0, 255, (100, 120, 3))), ("masks", np.zeros((100, 120)))):
                    path = tmp_path / home / name / label / f"{number}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    if home:
                        pixels[40:60, 50:70] = 255
                    Image.fromarray(pixels.astype(np.uint8)).save(path)
    data = hold_out(read_folder(tmp_path, size=100))
    val, exchanged = validation_splits(data, "exchanged_across", 0)
    assert isinstance(val, FileSplit)
    assert exchanged.targets.tolist() == [0, 0, 1, 1]
    for n in range(4):
        assert torch.equal(exchanged.images[n, :, 40:60, 40:60], val.image(n)[:, 40:60, 50:70])
        assert not torch.equal(exchanged.images[n, :, :20, :20], val.image(n)[:, :20, 10:30])
    run = train(
        settings(data=str(tmp_path), select_by="exchanged_across", batch_size=2),
        tmp_path / "run",
        data=data,
        progress=False,
    )
    assert 0 <= run.history[0]["val_exchanged_across"] <= 1


# Errors ------------------------------------------------------------------------------------------------------------


def with_val(data, **changes):
    return replace(data, splits=data.splits | {"val": replace(data.splits["val"], **changes)})


def test_masks_on_validation_images_are_needed(data, tmp_path):
    for marks in (None, Marks([], [], [])):
        with pytest.raises(
            ValueError,
            match=r"select_by 'exchanged_across' needs masks on validation images, .* marks are for training images "
            r"alone, so put masks of validation images into the data folder's masks/",
        ):
            train(settings(select_by="exchanged_across"), tmp_path / "run", data=with_val(data, marks=marks))
    assert not (tmp_path / "run").exists()


def test_masks_of_two_classes_are_needed(data):
    val = data.splits["val"]
    zeros = val.marks.restricted((val.targets == 0).nonzero().flatten().tolist())
    with pytest.raises(ValueError, match=r"select_by 'exchanged_across', on validation images: .* of classes \[0\]"):
        validation_splits(with_val(data, marks=zeros), "exchanged_across", 0)


def test_groups_are_needed(data):
    with pytest.raises(ValueError, match=r"select_by 'worst_group' needs the images' groups, .* groups.csv"):
        validation_splits(with_val(data, groups=None), "worst_group", 0)
    alone = with_val(data, groups=torch.ones(60, dtype=torch.long))
    with pytest.raises(ValueError, match=r"needs validation images of two groups or more, but all 60 are of one"):
        validation_splits(alone, "worst_group", 0)


def test_groups_are_of_images_with_one_class(data):
    several = with_val(data, targets=torch.ones(60, 10))
    with pytest.raises(ValueError, match=r"select_by 'worst_group' needs one class for each image, but these may"):
        validation_splits(several, "worst_group", 0)


def test_an_unknown_score_is_refused(data):
    with pytest.raises(
        ValueError, match=r"select_by must be one of score, worst_group, exchanged_across; got 'accuracy'"
    ):
        validation_splits(data, "accuracy", 0)
