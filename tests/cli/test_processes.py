"""The command as a process of its own: signals, and several devices."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from looksharp import cli, evaluate
from looksharp.data.sets.synthetic import digits
from looksharp.training import load_run
from looksharp.training.facts import read_facts


@pytest.fixture
def start(tmp_path):
    """Start `looksharp train` into tmp_path/run with more flags."""
    started = []

    def begin(*flags):
        few = ("--digits.train", "64", "--digits.val", "32", "--digits.test", "32")
        given = (*few, "--device", "cpu", "--workers", "0", "--batch_size", "16", "--lr", "0.02")
        command = [sys.executable, "-m", "looksharp", "train", *given, "--out", str(tmp_path / "run"), *flags]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"TMPDIR": str(tmp_path)},
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def wait_for(path, process):
    """Wait until a file is there."""
    while not path.exists():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)


def test_sigterm_ends_with_status_143_and_the_run_continues(start, tmp_path):
    process = start("--epochs", "1000")
    wait_for(tmp_path / "run" / "checkpoints" / "last.ckpt", process)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143, said
    assert said.splitlines()[-1] == "looksharp: terminated; continue with --resume and the same --out"
    left = {path.name for path in (tmp_path / "run").rglob("*") if path.name.startswith(".")}
    assert not left
    epochs = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] + 1
    values = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(values | {"epochs": epochs}))
    assert cli.main(["train", "--resume", "--out", str(tmp_path / "run"), "--epochs", str(epochs + 1)]) == 0
    assert len(load_run(tmp_path / "run", device="cpu").history) == epochs + 1


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_of_two_ends_the_training_in_one_line(start, tmp_path, rank):
    process = start("--devices", "2", "--epochs", "1000")
    wait_for(tmp_path / "run" / "checkpoints" / "last.ckpt", process)
    tasks = Path(f"/proc/{process.pid}/task").iterdir()
    children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    (second,) = [child for child in children if b"looksharp.__main__" in Path(f"/proc/{child}/cmdline").read_bytes()]
    os.kill(second if rank else process.pid, signal.SIGKILL)
    _, said = process.communicate(timeout=120)
    assert process.returncode not in (0, 1)
    lines = [line for line in said.replace("\r", "\n").splitlines() if line.strip("\x1b[A ")]
    told = [line for line in lines if "Epoch" not in line and "it/s" not in line]  # progress bars
    assert told == [
        "each step reads 32 images: 16 on each of 2 devices",
        f"looksharp: error: another process of this training ended, so that it cannot go on; {tmp_path / 'run'} "
        "keeps its last whole epoch: continue with --resume",
    ]


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_devices_read_a_batch_each(strategy, start, tmp_path):
    process = start("--devices", "2", "--epochs", "1", "--digits.val", "35", "--strategy", strategy)
    out, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    assert said.count("each step reads 32 images: 16 on each of 2 devices") == 1
    assert out.count("epoch 1 ") == 1
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 64 // 32
    assert read_facts(tmp_path / "run").finished
    assert not (tmp_path / "run" / ".lock").exists()
    # Each validation image was counted once, with the weights that are kept.
    run, data = load_run(tmp_path / "run", device="cpu"), digits(train=64, val=35, test=32)
    alone = evaluate(run, data.splits["val"], suites=["classification"]).values
    assert run.history[-1]["val_top1"] == pytest.approx(alone["top1"], abs=1e-6)
    assert run.history[-1]["val_loss"] == pytest.approx(alone["loss"], abs=1e-5)


@pytest.mark.parametrize("command", ["evaluate run", "suspects run", "explain run image.png", "cure run --marks data"])
def test_sigterm_ends_every_command_with_status_143(command, monkeypatch, capsys):
    """As an exception does, so that files half-written are removed and locks are released."""
    name, *_ = command.split()
    kept, cleaned = cli.COMMANDS[name], []

    def run(_):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        finally:
            cleaned.append(name)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setitem(cli.COMMANDS._things, name, replace(kept, run=run))
    assert cli.main(command.split()) == 143
    assert cleaned == [name]
    assert capsys.readouterr().err.startswith("looksharp: terminated")
    assert signal.getsignal(signal.SIGTERM) == before
