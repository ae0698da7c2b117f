"""Read files of weights, and load them only into a network that they fit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeGuard

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from looksharp.files import replacing

__all__ = ["check_finite", "fit_weights", "misfit", "read_checkpoint", "read_state", "save_weights", "write_tensors"]

_STATE = {"state_dict": dict, "epoch": int, "loops": dict, "callbacks": dict, "optimizer_states": list}
"""Content of a run's checkpoint; all but the first are read when the run is resumed."""


def read_state(path: Path) -> dict[str, Tensor]:
    """Read weights from a run's model.safetensors, one of its checkpoints, or a state_dict that `torch.save` wrote.

    Raises:
        ValueError: if the file is missing or damaged, or its weights are not finite.
    """
    if not path.is_file():
        raise ValueError(f"weights must be a run's model.safetensors or a checkpoint of it; {path} is no file")
    state = _read(path)
    check_finite(state, f"weights {path}")
    return state


def fit_weights(model: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Put weights read from a file into a network.

    Raises:
        ValueError: if they are of another network or not finite; the message names the file.
    """
    name = misfit(model, state)
    if name is not None:
        raise ValueError(f"weights {path} are of another network: {name} does not fit; check backbone")
    check_finite(state, f"weights {path}")
    model.load_state_dict(dict(state))


def misfit(model: nn.Module, state: Mapping[str, Tensor]) -> str | None:
    """Return the name of a value that one of both lacks, or has in another shape or type."""
    own = model.state_dict()
    missing = next((name for name in own if name not in state), None)
    return missing or next(
        (name for name, value in state.items() if name not in own or not _alike(value, own[name])), None
    )


def check_finite(state: Mapping[str, Tensor], what: str) -> None:
    """Refuse weights that are infinite or NaN.

    Raises:
        ValueError: if there are any; the message names the first.
    """
    bad = next((name for name, value in state.items() if not torch.isfinite(value).all()), None)
    if bad is not None:
        raise ValueError(f"{what} are not finite ({bad}): the training diverged; train again with a lower --lr")


def read_checkpoint(path: Path, resuming: bool = False) -> dict[str, Tensor]:
    """Read the network's weights in a run's checkpoint.

    Args:
        path: the checkpoint.
        resuming: require all that resuming the training needs.

    Raises:
        ValueError: if the file is damaged, or not a checkpoint of a run.
    """
    found = _load(path)
    if _is_state(found) and found:
        raise ValueError(f"{path} is a state_dict, not a run's checkpoint: start a training from it with --weights")
    if not isinstance(found, Mapping):
        raise ValueError(f"{path} holds a {type(found).__name__}, not a run's checkpoint; train again")
    needed = _STATE if resuming else {"state_dict": dict}
    lacking = next((name for name, kind in needed.items() if not _filled(found.get(name), kind)), None)
    if lacking is not None:
        raise ValueError(f"{path} is not a run's checkpoint: its {lacking} is missing or damaged; train again")
    state = found["state_dict"]
    if not _is_state(state):
        raise ValueError(f"{path} is not a run's checkpoint: its state_dict holds no weights; train again")
    return {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}


def save_weights(path: Path, model: nn.Module, backbone: str) -> None:
    """Write a network's weights as safetensors.

    Raises:
        OSError: if the disk is full, or the folder cannot be written.
    """
    write_tensors(path, model.state_dict(), {"backbone": backbone})


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write named tensors as safetensors.

    Raises:
        OSError: if the disk is full, or the folder cannot be written.
    """
    with replacing(path) as temporary:
        try:
            save_file(_apart(tensors), temporary, metadata)
        except SafetensorError as error:
            raise OSError(f"{path} cannot be written: {error}") from None


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors of which no two share memory, as safetensors needs them; networks may share weights."""
    seen: set[int] = set()
    apart = {}
    for name, value in tensors.items():
        kept = value.contiguous()
        place = kept.untyped_storage().data_ptr()
        apart[name] = kept.clone() if place in seen else kept
        seen.add(place)
    return apart


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} cannot be read as weights: {error}") from None
    found = _load(path)
    return dict(found) if _is_state(found) else read_checkpoint(path)


def _load(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # whatever bytes may provoke
        raise ValueError(f"{path} cannot be read as a checkpoint: it is damaged; train again") from None


def _filled(value: object, kind: type) -> bool:
    return isinstance(value, kind) and value not in ({}, [])


def _is_state(found: object) -> TypeGuard[Mapping[str, Tensor]]:
    return isinstance(found, Mapping) and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in found.items()
    )


def _alike(value: Tensor, own: Tensor) -> bool:
    return (value.shape, value.is_floating_point(), value.is_complex(), value.layout) == (
        own.shape,
        own.is_floating_point(),
        own.is_complex(),
        own.layout,
    )
