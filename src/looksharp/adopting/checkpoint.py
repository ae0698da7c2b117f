"""Read weights from a file that any program may have written, and fit them into a network."""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

__all__ = ["Fitted", "Weights", "fit", "read_weights"]

_PLACES = (
    "state_dict_ema",  # timm's average of the weights, which it prefers too
    "model_ema",
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "module",
    "weights",
    "params",
)
"""Names below which programs keep a state_dict, the preferred first."""

_HARMLESS: list[Any] = [argparse.Namespace, pathlib.PosixPath, pathlib.WindowsPath, pathlib.PurePosixPath]
"""Classes of settings that checkpoints hold beside weights, timm's for one; none of them runs code when it is read."""

_SHOWN = 3  # names of keys in a message


@dataclass(frozen=True)
class Weights:
    """Weights read from a file.

    Attributes:
        state: their values by name.
        where: where in the file they were, for messages; empty if it holds nothing else.
    """

    state: dict[str, Tensor]
    where: str = ""

    def shape_of(self, name: str) -> tuple[int, ...] | None:
        """Return the shape of a network's value, under whatever prefix; None if it is not there, or not once."""
        found = [value for key, value in self.state.items() if f".{key}".endswith(f".{name}")]
        return tuple(found[0].shape) if len(found) == 1 else None


@dataclass(frozen=True)
class Fitted:
    """Weights under the names of a network.

    Attributes:
        state: their values by the network's names.
        prefix: what was taken off their names.
        left_out: names of values outside the network, such as those of a loss.
    """

    state: dict[str, Tensor]
    prefix: str
    left_out: tuple[str, ...]


def read_weights(path: Path) -> Weights:
    """Read weights from safetensors, or from what `torch.save` wrote, at whatever place they are kept there.

    No code of the file is run.

    Raises:
        ValueError: if the file is missing, cannot be read, or holds no weights or quantized ones.
    """
    if not path.is_file():
        raise ValueError(f"weights {path} do not exist")
    if path.suffix == ".safetensors":
        try:
            found = Weights(load_file(path))
        except SafetensorError as error:
            raise ValueError(f"weights {path} cannot be read as safetensors: {error}") from None
    else:
        found = _within(_loaded(path), path)
    low = next((name for name, value in found.state.items() if value.is_quantized or value.dtype == torch.int8), None)
    if low is not None:
        raise ValueError(
            f"weights {path} are quantized to 8 bits ({low}): no gradient passes them; adopt the weights before that"
        )
    return found


def _loaded(path: Path) -> object:
    """Load what `torch.save` wrote, without running code."""
    try:
        with torch.serialization.safe_globals(_HARMLESS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever bytes may provoke
        foreign = _foreign(path)
        if foreign:
            raise ValueError(
                f"weights {path} hold {foreign} beside tensors, which is not read since it could run code; save "
                f"model.state_dict() alone"
            ) from None
        kind = "TorchScript" if "TorchScript" in str(error) else "damaged, or none that torch.save wrote"
        raise ValueError(f"weights {path} cannot be read: the file is {kind}; save model.state_dict()") from None


def _foreign(path: Path) -> str:
    """Return the first class in a checkpoint that is not read."""
    allowed = {f"{kind.__module__}.{kind.__qualname__}" for kind in _HARMLESS}
    try:
        named = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # no checkpoint at all
        return ""
    foreign = sorted(set(named) - allowed, key=lambda name: name.startswith("torch."))  # a model's parts come last
    return foreign[0] if foreign else ""


def _within(found: object, path: Path) -> Weights:
    """Find the state_dict in what a checkpoint holds."""
    if _is_state(found):
        return Weights(_tensors(found))
    if isinstance(found, Mapping):
        for place in _PLACES:
            inner = found.get(place)
            if _is_state(inner):
                others = [name for name in _PLACES if name != place and _is_state(found.get(name))]
                beside = f", not {', '.join(others)}, which it holds too" if others else ""
                return Weights(_tensors(inner), f"{place}{beside}")
    kind = type(found).__name__ if not isinstance(found, Mapping) else f"only {', '.join(map(str, list(found)[:8]))}"
    raise ValueError(f"weights {path} hold no state_dict but {kind}; save model.state_dict()")


def _is_state(found: object) -> bool:
    """Return True for a mapping of names to tensors; a few other values in it, such as a version, do no harm."""
    if not isinstance(found, Mapping) or not found or not all(isinstance(name, str) for name in found):
        return False
    tensors = sum(isinstance(value, Tensor) for value in found.values())
    return tensors > 0 and not any(isinstance(value, Mapping | list) for value in found.values())


def _tensors(found: Any) -> dict[str, Tensor]:
    return {
        name.replace("_orig_mod.", ""): value for name, value in found.items() if isinstance(value, Tensor)
    }  # torch.compile's prefix may stand amid a name


def fit(network: nn.Module, weights: Weights, path: Path, what: str, left_out: tuple[str, ...] = ()) -> Fitted:
    """Take the prefix off the names of weights and check that they are a network's.

    Args:
        network: the network.
        weights: what the file holds.
        path: the file, for messages.
        what: the network's name, for messages.
        left_out: modules of the published network that this one lacks.

    Raises:
        ValueError: if values are missing, of another shape, or not the network's; the first are named.
    """
    own = network.state_dict()
    prefix = _prefix(weights.state, own)
    inside = {name.removeprefix(prefix): value for name, value in weights.state.items() if name.startswith(prefix)}
    outside = [name for name in weights.state if not name.startswith(prefix)]
    dropped = [name for name in inside if name not in own and name.partition(".")[0] in left_out]
    missing = [name for name in own if name not in inside]
    unexpected = [name for name in inside if name not in own and name not in dropped]
    if missing or unexpected:
        parts = [f"{kind} {_listed(names)}" for kind, names in (("lack", missing), ("have", unexpected)) if names]
        raise ValueError(
            f"weights {path} do not fit {what}: they {' and '.join(parts)}; name the model they were trained in, which "
            f"may be your own package.module:function"
        )
    other = next((name for name in own if inside[name].shape != own[name].shape), None)
    if other is not None:
        raise ValueError(
            f"weights {path} do not fit {what}: {other} is {_shape(inside[other])} in the file, and in the network "
            f"{_shape(own[other])}; check the model's name, --classes and --image_size"
        )
    return Fitted({name: inside[name] for name in own}, prefix, tuple(outside + dropped))


def _prefix(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    """Return the prefix below which most of a network's own names are; of equals the shortest."""
    candidates = {""}
    for name in state:
        parts = name.split(".")
        candidates |= {".".join(parts[:depth]) + "." for depth in range(1, len(parts))}
    return max(sorted(candidates, key=len), key=lambda prefix: sum(f"{prefix}{name}" in state for name in own))


def _listed(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _shape(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "a number"
