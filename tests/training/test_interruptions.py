"""What is left of a run that is killed, runs out of disk, or meets another."""

import itertools
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.utilities import rank_zero_only

from looksharp.files import locked
from looksharp.training import load_run, train
from looksharp.training.module import NonFiniteLossError, Training
from looksharp.training.run import _say_step, _tell_of_the_end
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


# Several processes, of which this is one --------------------------------------------------------------------------


def test_sigterm_ends_training_with_status_143(few_settings, few_digits, tmp_path, monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    at_step(monkeypatch, STEPS + 2, lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(SystemExit) as end:
        train(few_settings(epochs=2), tmp_path / "run", data=few_digits, progress=False)
    assert end.value.code == 143
    assert epoch_of(tmp_path / "run") == 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_end_of_another_process_is_said_with_what_is_kept(few_settings, few_digits, tmp_path, monkeypatch):
    lost = RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer")
    at_step(monkeypatch, STEPS + 2, lambda: (_ for _ in ()).throw(lost))
    with pytest.raises(ConnectionError) as error:
        train(few_settings(epochs=2), tmp_path / "run", data=few_digits, progress=False)
    assert str(error.value) == (
        f"another process of this training ended, so that it cannot go on; {tmp_path / 'run'} keeps its last whole "
        "epoch: continue with --resume"
    )
    assert epoch_of(tmp_path / "run") == 0


def test_of_several_processes_the_first_alone_writes_the_run(few_settings, few_digits, tmp_path, monkeypatch):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("of: the first\n")  # just written, which is no reason to refuse the folder
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    train(few_settings(), run, data=few_digits, progress=False)
    assert (run / "config.yaml").read_text() == "of: the first\n"
    assert not files(run) & {"run.json", "model.safetensors"}


def test_another_process_than_the_first_speaks_only_where_the_first_was_killed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    with locked(tmp_path), monkeypatch.context() as patch:  # as a first process does that lives
        patch.setattr(time, "monotonic", itertools.count().__next__)
        with pytest.raises(SystemExit) as end:
            _tell_of_the_end(tmp_path)
    assert (end.value.code, capsys.readouterr().err) == (1, "")
    (tmp_path / ".lock").touch()  # which nobody holds any more
    with pytest.raises(ConnectionError, match=r"^another process of this training ended, so that it cannot go on; "):
        _tell_of_the_end(tmp_path)
    assert capsys.readouterr().err == "\n"  # ends the line of a progress bar


def test_the_size_of_a_step_of_several_devices_is_said(few_settings, capsys):
    _say_step(few_settings())
    assert capsys.readouterr().err == ""
    _say_step(few_settings(devices=2, num_nodes=3))
    assert capsys.readouterr().err == "each step reads 96 images: 16 on each of 6 devices\n"


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
