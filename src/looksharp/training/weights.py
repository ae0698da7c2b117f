"""Start from weights that are there already."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from looksharp.networks import Architecture
from looksharp.training.folder import read_weights

__all__ = ["load_weights", "new_modules", "start_from"]


def start_from(build: Callable[..., nn.Module], path: Path) -> nn.Module:
    """Build a network and let it start from a run's weights.

    They are the whole network's, or a plain run's, which fit the backbone inside an architecture: what the
    architecture adds is then new, and said so on stderr.

    Args:
        build: makes the network; with `weights`, the state of a trained backbone, around that.
        path: a run's model.safetensors or one of its checkpoints.

    Raises:
        ValueError: if the file is missing, damaged, or of another network.
    """
    state, model = _read(path), build()
    misfit = _misfit(model, state)
    if misfit is None:
        model.load_state_dict(state)
        return model
    other = ValueError(f"weights {path} are of another network: {misfit} does not fit; check backbone")
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


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a run's model.safetensors or one of its checkpoints into a network of the same names and shapes.

    Raises:
        ValueError: if the file is missing, damaged, or of another network.
    """
    state = _read(path)
    misfit = _misfit(model, state)
    if misfit is not None:
        raise ValueError(f"weights {path} are of another network: {misfit} does not fit; check backbone")
    model.load_state_dict(state)


def _misfit(model: nn.Module, state: Mapping[str, Tensor]) -> str | None:
    """Return the name of a value that one of both lacks, or has in another shape."""
    own = {name: value.shape for name, value in model.state_dict().items()}
    missing = next((name for name in own if name not in state), None)
    return missing or next((name for name, value in state.items() if own.get(name) != value.shape), None)


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ValueError(f"weights must be a run's model.safetensors or a checkpoint of it; {path} is no file")
    if path.suffix != ".safetensors":
        state = read_weights(path)
        return {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} cannot be read as weights: {error}") from None
