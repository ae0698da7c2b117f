import math
from types import SimpleNamespace

import pytest
import torch

from looksharp.training.history import History, read_history


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.csv"


def end_of_epoch(history, epoch, values, lr=0.1, rank=0):
    trainer = SimpleNamespace(
        is_global_zero=rank == 0,
        current_epoch=epoch,
        optimizers=[SimpleNamespace(param_groups=[{"lr": lr}])],
        callback_metrics={name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()},
    )
    history.on_train_epoch_start(trainer, None)
    history.on_train_epoch_end(trainer, None)


def without_time(rows):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def test_a_row_an_epoch(path):
    history = History(path)
    end_of_epoch(history, 0, {"train_loss": 2.5, "val_top1": 0.25, "loss": 9.0}, lr=0.1)
    end_of_epoch(history, 1, {"train_loss": 1 / 3, "val_top1": 0.5, "loss": 9.0}, lr=0.05)
    rows = read_history(path)
    assert without_time(rows) == [
        {"epoch": 0, "lr": 0.1, "train_loss": 2.5, "val_top1": 0.25},
        {"epoch": 1, "lr": 0.05, "train_loss": 1 / 3, "val_top1": 0.5},  # every digit is kept
    ]
    assert all(row["seconds"] >= 0 for row in rows)
    lines = path.read_text().splitlines()
    assert lines[0] == "epoch,seconds,lr,train_loss,val_top1"
    assert [line.split(",")[0] for line in lines[1:]] == ["0", "1"]


def test_a_resumed_run_replaces_what_the_interrupted_one_left(path):
    for epoch in range(4):
        end_of_epoch(History(path), epoch, {"train_loss": float(epoch)})
    end_of_epoch(History(path), 2, {"train_loss": 20.0})
    assert [(row["epoch"], row["train_loss"]) for row in read_history(path)] == [(0, 0), (1, 1), (2, 20)]


def test_terms_that_come_later(path):
    history = History(path)
    end_of_epoch(history, 0, {"train_loss": 1.0})
    end_of_epoch(history, 1, {"train_loss": 1.0, "train_guidance": 0.5})
    assert [row.get("train_guidance") for row in read_history(path)] == [None, 0.5]


def test_what_is_not_a_number_is_kept(path):
    end_of_epoch(History(path), 0, {"train_loss": math.nan, "val_loss": math.inf})
    (row,) = read_history(path)
    assert math.isnan(row["train_loss"])
    assert row["val_loss"] == math.inf


def test_one_process_writes(path):
    end_of_epoch(History(path), 0, {"train_loss": 1.0}, rank=1)
    assert not path.exists()


def test_no_file_is_no_history(path):
    assert read_history(path) == []
