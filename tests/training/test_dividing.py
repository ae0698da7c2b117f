import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from lightning.pytorch.strategies import ModelParallelStrategy

from looksharp.networks import SmallNet
from looksharp.training import load_run
from looksharp.training.differing import differing
from looksharp.training.dividing import agree_on_buffers, put_away, strategy_of
from looksharp.training.settings import RunConfig, TrainingConfig


def test_the_strategy_is_lightnings_own_unless_weights_are_divided():
    assert strategy_of(TrainingConfig()) == "auto"
    assert strategy_of(TrainingConfig(strategy="ddp", devices=3)) == "ddp"
    assert isinstance(strategy_of(TrainingConfig(strategy="fsdp", num_nodes=2)), ModelParallelStrategy)
    assert TrainingConfig(devices=3, num_nodes=2).all_devices == 6


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"devices": 1}, "strategy fsdp divides weights among devices; give --devices or --num_nodes above 1"),
        ({"precision": "16-mixed"}, "strategy fsdp has no precision 16-mixed; take bf16-mixed or 32-true"),
        ({"compile": True}, "strategy fsdp does not compile; leave out --compile"),
        ({"logger": ["csv"]}, "strategy fsdp logs no maps, as no process has all weights; give --logged_maps 0"),
    ],
)
def test_what_divided_weights_do_not_allow(values, message):
    training = TrainingConfig(**({"strategy": "fsdp", "devices": 2} | values))
    with pytest.raises(ValueError, match=f"^{message}$"):
        strategy_of(training)


def test_a_whole_network_is_left_alone():
    network = SmallNet(3, width=8)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    put_away(network)
    agree_on_buffers(network)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_run_may_go_on_with_other_devices():
    one = RunConfig()
    other = replace(one, training=replace(one.training, devices=2, num_nodes=3, strategy="fsdp"))
    assert differing(one, other) is None
    assert differing(one, replace(one, training=replace(one.training, batch_size=3))) == "batch_size"


RESUMED = """
import os, sys

from lightning.pytorch.utilities import rank_zero_only
from torch import multiprocessing

from looksharp.data.sets.synthetic import digits
from looksharp.training import train
from looksharp.training.module import Training
from looksharp.training.settings import RunConfig

def go(folder, resume=False):
    few = {"epochs": 2, "batch_size": 16, "lr": 0.002, "optimizer": "adamw", "digits": {"train": 64}}
    here = {"device": "cpu", "workers": 0, "devices": 2, "strategy": sys.argv[3]}
    out = f"{sys.argv[1]}/{folder}"
    train(RunConfig.from_flat(few | here), out, data=digits(64, 32, 1), resume=resume, progress=False)

def work(number):
    local = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1"}
    local |= {"MASTER_PORT": sys.argv[2], "TORCHELASTIC_RUN_ID": "1", "GROUP_RANK": 0, "LOCAL_WORLD_SIZE": 2}
    os.environ |= {name: str(value) for name, value in local.items()}
    rank_zero_only.rank = number
    go("whole")
    step = Training.training_step

    def broken(self, batch, batch_idx):
        if (self.current_epoch, batch_idx) == (1, 1):
            raise ArithmeticError
        return step(self, batch, batch_idx)

    Training.training_step = broken
    try:
        go("resumed")
    except ArithmeticError:
        Training.training_step = step
    go("resumed", resume=True)

if __name__ == "__main__":
    multiprocessing.start_processes(work, nprocs=2, start_method="fork")
"""


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_run_of_two_that_was_interrupted_goes_on_as_if_it_had_not_been(tmp_path, strategy):
    """Two processes; weights, history and the optimiser's state are those of an uninterrupted run, bit by bit."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", RESUMED, str(tmp_path), str(20_000 + os.getpid() % 20_000), strategy]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    whole, resumed = (load_run(tmp_path / name, device="cpu") for name in ("whole", "resumed"))
    assert [row["epoch"] for row in resumed.history] == [0, 1]
    for ours, theirs in zip(resumed.history, whole.history, strict=True):
        assert ours | {"seconds": 0} == theirs | {"seconds": 0}
    for name, value in resumed.model.state_dict().items():
        assert torch.equal(value, whole.model.state_dict()[name])
    last = (torch.load(run.path / "checkpoints" / "last.ckpt", weights_only=True) for run in (resumed, whole))
    ours, theirs = (checkpoint["optimizer_states"][0]["state"] for checkpoint in last)
    assert len(ours) == len(list(whole.model.parameters()))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
