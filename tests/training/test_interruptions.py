"""What is left of a run that is killed, runs out of disk, or meets another."""

import itertools
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from looksharp.training import load_run, train
from looksharp.training.module import NonFiniteLossError, Training
from looksharp.training.state import read_checkpoint

STEPS = 4


def at_step(monkeypatch, step, act):
    """Do something before a training step, counted from 1 over all epochs."""
    steps, whole = itertools.count(1), Training.training_step

    def training_step(self, batch, batch_idx):
        if next(steps) == step:
            act()
        return whole(self, batch, batch_idx)

    monkeypatch.setattr(Training, "training_step", training_step)


def epoch_of(run, name="last"):
    path = run / "checkpoints" / f"{name}.ckpt"
    read_checkpoint(path)
    return torch.load(path, weights_only=True)["epoch"]


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A temporary folder on another file system, where this machine has one."""
    there = Path("/dev/shm") if Path("/dev/shm").is_dir() else tmp_path
    with tempfile.TemporaryDirectory(dir=there) as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


def test_a_checkpoint_is_whole_where_moving_it_would_be_copying(
    elsewhere, few_settings, few_digits, tmp_path, monkeypatch
):
    def half(source, target, *_, **__):
        Path(target).write_bytes(Path(source).read_bytes()[:1000])
        raise KeyboardInterrupt

    config = few_settings(epochs=3)
    whole = train(config, tmp_path / "whole", data=few_digits, progress=False)
    with monkeypatch.context() as patch:
        at_step(patch, STEPS + 2, lambda: patch.setattr(shutil, "move", half))
        at_step(patch, 2 * STEPS + 2, lambda: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "run", data=few_digits, progress=False)
    assert epoch_of(tmp_path / "run") == 1
    assert list(elsewhere.iterdir()) == []
    resumed = train(config, tmp_path / "run", data=few_digits, resume=True, progress=False)
    assert all(torch.equal(value, whole.model.state_dict()[name]) for name, value in resumed.model.state_dict().items())


KILLED = """
import os, signal, sys
from pathlib import Path
from types import SimpleNamespace
from looksharp.data.sets.synthetic import digits
from looksharp.training import train
from looksharp.training.settings import RunConfig

write, times = Path.write_bytes, []

def half(path, data):
    times.extend([path] if "last" in path.name else [])
    if len(times) == 2:  # the second epoch's
        write(path, data[:1000])
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, data)

Path.write_bytes = half
values = {"digits": {"train": 64}, "device": "cpu", "workers": 0, "epochs": 3, "batch_size": 16, "lr": 0.02}
train(RunConfig.from_flat(values), sys.argv[1], data=digits(train=64, val=32, test=32), progress=False)
"""


def test_a_kill_while_a_checkpoint_is_written_loses_that_epoch_alone(few_settings, few_digits, tmp_path):
    run = tmp_path / "run"
    done = subprocess.run([sys.executable, "-c", KILLED, run], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert epoch_of(run) == 0
    assert any(".part-" in name for name in files(run))
    resumed = train(few_settings(epochs=3), run, data=few_digits, resume=True, progress=False)
    assert len(resumed.history) == 3
    assert not [name for name in files(run) if Path(name).name.startswith(".")]


@pytest.fixture
def full_disk():
    """Call it to let no file grow beyond a size, until the test ends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size=20_000: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_keeps_the_epoch_before(full_disk, few_settings, few_digits, tmp_path, monkeypatch):
    run, unlimited = tmp_path / "run", resource.getrlimit(resource.RLIMIT_FSIZE)
    with monkeypatch.context() as patch:
        at_step(patch, STEPS + 1, full_disk)
        with pytest.raises(OSError, match=r"^checkpoint \S*\.ckpt cannot be written: File too large$"):
            train(few_settings(epochs=2), run, data=few_digits, progress=False)
    resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    kept = {"config.yaml", "run.json", "metrics.csv", "checkpoints/last.ckpt", "checkpoints/best.ckpt"}
    assert files(run) == kept
    assert (epoch_of(run), epoch_of(run, "best")) == (0, 0)
    assert train(few_settings(epochs=2), run, data=few_digits, resume=True, progress=False).history[-1]["epoch"] == 1


def test_a_full_disk_at_the_first_checkpoint_leaves_no_run(full_disk, few_settings, few_digits, tmp_path, monkeypatch):
    at_step(monkeypatch, 1, full_disk)
    with pytest.raises(OSError, match="cannot be written: File too large"):
        train(few_settings(), tmp_path / "run", data=few_digits, progress=False)
    assert files(tmp_path) == set()


def test_a_full_disk_at_the_end_keeps_the_checkpoints(full_disk, few_settings, few_digits, tmp_path, monkeypatch):
    from looksharp.training import run as run_module

    whole = run_module.save_weights
    monkeypatch.setattr(run_module, "save_weights", lambda *given: (full_disk(), whole(*given)))
    with pytest.raises(OSError, match=r"model\.safetensors cannot be written"):
        train(few_settings(), tmp_path / "run", data=few_digits, progress=False)
    assert "model.safetensors" not in files(tmp_path / "run")
    assert epoch_of(tmp_path / "run") == 0


def test_an_error_in_set_up_leaves_nothing(few_settings, few_digits, tmp_path, monkeypatch):
    from looksharp.training import run as run_module

    def trainer(*_):
        raise ValueError("no such device")

    monkeypatch.setattr(run_module, "_trainer", trainer)
    with pytest.raises(ValueError, match="no such device"):
        train(few_settings(), tmp_path / "run", data=few_digits, progress=False)
    assert not (tmp_path / "run").exists()


def test_two_trainings_do_not_share_a_folder(few_settings, few_digits, tmp_path, monkeypatch):
    refused = []

    def other():
        for resume in (False, True):
            with pytest.raises(ValueError, match=r"^another process is writing \S*run; wait for it") as error:
                train(few_settings(seed=1), tmp_path / "run", data=few_digits, resume=resume, progress=False)
            refused.append(error)

    at_step(monkeypatch, 2, other)
    run = train(few_settings(), tmp_path / "run", data=few_digits, progress=False)
    assert len(refused) == 2
    assert load_run(run.path, device="cpu").config.training.seed == 0
    assert not (run.path / ".lock").exists()


# Values that are not finite --------------------------------------------------------------------------------------


def test_weights_that_the_last_step_spoils(few_settings, few_digits, tmp_path, monkeypatch):
    """The loss of the last step is finite, and what the step makes of the weights is not."""
    steps = itertools.count(1)

    def spoil(self, *_):
        if next(steps) == 2 * STEPS:
            with torch.no_grad():
                self.model.fc.weight[0, 0] = torch.nan

    monkeypatch.setattr(Training, "on_train_batch_end", spoil)
    message = r"^the weights after epoch 1 are not finite \(fc\.weight\): the training diverged; train again with"
    with pytest.raises(ValueError, match=message):
        train(few_settings(epochs=2), tmp_path / "run", data=few_digits, progress=False)
    assert (epoch_of(tmp_path / "run"), epoch_of(tmp_path / "run", "best")) == (0, 0)


def test_the_loss_of_an_epochs_last_step_is_checked_on_an_accelerator_too(few_settings, monkeypatch):
    module = Training(
        torch.nn.Linear(2, 2),
        None,
        few_settings().optimization,
        classes=2,
        multilabel=False,
        steps_per_epoch=4,
        epochs=1,
    )
    loss = torch.tensor(torch.inf)
    device = SimpleNamespace(type="cuda")
    monkeypatch.setattr(torch.Tensor, "device", property(lambda self: device))
    module._trainer = SimpleNamespace(is_last_batch=False, current_epoch=0)
    module._check_finite(loss, 3)
    module._trainer.is_last_batch = True
    with pytest.raises(NonFiniteLossError, match="the loss is inf at epoch 0, step 3"):
        module._check_finite(loss, 3)
