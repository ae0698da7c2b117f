"""Start from weights that are there already."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from looksharp.training.folder import read_weights

__all__ = ["load_weights"]


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a run's model.safetensors or one of its checkpoints into a network of the same names and shapes.

    Raises:
        ValueError: if the file is missing, damaged, or of another network.
    """
    if not path.is_file():
        raise ValueError(f"weights must be a run's model.safetensors or a checkpoint of it; {path} is no file")
    state = _read(path)
    own = {name: value.shape for name, value in model.state_dict().items()}
    missing = next((name for name in own if name not in state), None)
    other = next((name for name, value in state.items() if own.get(name) != value.shape), None)
    if missing is not None or other is not None:
        raise ValueError(f"weights {path} are of another network: {missing or other} does not fit; check backbone")
    model.load_state_dict(state)


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix != ".safetensors":
        state = read_weights(path)
        return {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} cannot be read as weights: {error}") from None
