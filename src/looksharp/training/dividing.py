"""Weights, gradients and the optimiser's state divided among the devices that train (FSDP2)."""

from __future__ import annotations

from lightning.pytorch.strategies import ModelParallelStrategy, Strategy
from torch import distributed, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from looksharp.training.settings import TrainingConfig

__all__ = ["agree_on_buffers", "divide", "put_away", "strategy_of"]


def strategy_of(training: TrainingConfig) -> Strategy | str:
    """Return Lightning's strategy for the devices; checkpoints are whole files in any.

    Raises:
        ValueError: if weights are to be divided on one device, or with something that needs them whole.
    """
    if training.strategy != "fsdp":
        return training.strategy
    if training.all_devices == 1:
        raise ValueError("strategy fsdp divides weights among devices; give --devices or --num_nodes above 1")
    if training.precision == "16-mixed":
        raise ValueError("strategy fsdp has no precision 16-mixed; take bf16-mixed or 32-true")
    if training.compile:
        raise ValueError("strategy fsdp does not compile; leave out --compile")
    if training.logger and training.logged_maps:
        raise ValueError("strategy fsdp logs no maps, as no process has all weights; give --logged_maps 0")
    return ModelParallelStrategy(training.all_devices, 1, save_distributed_checkpoint=False)


def divide(model: nn.Module, mesh: DeviceMesh) -> None:
    """Divide a network's weights among the devices of a mesh, once.

    They are whole on each device from a step's forward to the end of its backward, because maps and the second
    derivatives of losses on them go through the network more than once. Between steps each device holds its share of
    weights and gradients, and always of the optimiser's state.
    """
    if isinstance(model, FSDPModule):
        return
    divided = fully_shard(model, mesh=mesh, reshard_after_forward=False)
    divided.set_reshard_after_backward(False)


def put_away(model: nn.Module) -> None:
    """Return to each device's share of the weights, so that the optimiser's step is seen by the next forward."""
    if isinstance(model, FSDPModule):
        model.reshard()


def agree_on_buffers(model: nn.Module) -> None:
    """Give all processes the first one's buffers, such as BatchNorm's statistics, as DDP does at each forward."""
    if isinstance(model, FSDPModule):
        for buffer in model.buffers():
            distributed.broadcast(buffer, src=0)
