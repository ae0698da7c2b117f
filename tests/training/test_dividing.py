from dataclasses import replace

import pytest
import torch
from lightning.pytorch.strategies import ModelParallelStrategy

from looksharp.networks import SmallNet
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
