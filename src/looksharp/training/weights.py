"""Start from existing weights."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn

from looksharp.networks import Architecture
from looksharp.training.state import misfit, read_state

__all__ = ["new_modules", "start_from"]


def start_from(build: Callable[..., nn.Module], path: Path) -> nn.Module:
    """Build a network that starts from a run's weights.

    The weights are the whole network's, or a plain run's for the backbone inside an architecture; the architecture's
    own parameters are then new, which is reported on stderr.

    Args:
        build: makes the network, around a trained backbone if given its state as `weights`.
        path: a run's model.safetensors or one of its checkpoints.

    Raises:
        ValueError: if the file is missing, damaged, or of another network.
    """
    state, model = read_state(path), build()
    unfit = misfit(model, state)
    if unfit is None:
        model.load_state_dict(state)
        return model
    other = ValueError(f"weights {path} are of another network: {unfit} does not fit; check backbone")
    if not isinstance(model, Architecture):
        raise other
    try:
        model = build(weights=state)
    except ValueError:
        raise other from None
    new = new_modules(model, state)
    count = sum(parameter.numel() for name in new for parameter in model.get_submodule(name).parameters())
    rank_zero_only(print)(
        f"weights {path} start the backbone; new are {', '.join(new)}: {count:,} parameters", file=sys.stderr
    )
    return model


def new_modules(model: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the largest modules none of whose parameters is among those of a state, wherever it went."""
    known = {_print(value) for value in state.values()}

    def within(name: str, module: nn.Module) -> list[str]:
        parameters = list(module.parameters())
        if not parameters:
            return []
        new = [_print(parameter) not in known for parameter in parameters]
        if all(new):
            return [name]
        children = ((f"{name}.{child}".removeprefix("."), inner) for child, inner in module.named_children())
        return [found for child in children for found in within(*child)] if any(new) else []

    return within("", model)


def _print(values: Tensor) -> tuple[object, ...]:
    """Return what tells parameters apart: shape, sum and extremes."""
    values = values.detach()
    return (*values.shape, values.double().sum().item(), values.min().item(), values.max().item())
