"""Build the network that a name stands for, with the weights it was trained to."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from looksharp.adopting.checkpoint import Fitted, Weights, fit, read_weights
from looksharp.adopting.probing import check_input, check_precision, outputs_of
from looksharp.networks.backbones.build import build_network, is_own_code, source_of
from looksharp.networks.greyscale import Greyscale
from looksharp.networks.head_parameters import classifier_of
from looksharp.training.state import check_finite

__all__ = ["Built", "build_named", "wrapped"]


_HALF = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Built:
    """A network with trained weights.

    Attributes:
        network: a classifier of images (B, 3, H, W), in float32.
        outputs: number of its logits.
        architecture: what was built around it, as in `NetworkConfig`.
        said: remarks on the weights and the input, by topic.
    """

    network: nn.Module
    outputs: int
    architecture: str
    said: dict[str, str]


def build_named(name: str, path: Path | None, size: tuple[int, int]) -> Built:
    """Build a network by name and load its weights, the published ones if there is no file.

    Args:
        name: see `build_network`.
        path: file of weights.
        size: (height, width) of the images.

    Raises:
        ValueError: if it cannot be built, the weights do not fit, or it is no classifier of images.
    """
    if path is None:
        network = _published(name, size)
        return wrapped(network, size, name, {"weights": _origin(name)})
    weights = read_weights(path)
    network = _sized(name, weights, size)
    check_precision(network, name)
    fitted = fit(network, weights, path, name, source_of(name).left_out(name))
    check_finite(fitted.state, f"weights {path}")
    network = network.float()
    network.load_state_dict(fitted.state)
    return wrapped(network, size, name, {"weights": _said(path, weights, fitted)})


def wrapped(network: nn.Module, size: tuple[int, int], what: str, said: dict[str, str]) -> Built:
    """Bring a trained network to float32 and to images of three channels, and check it.

    Args:
        network: the network.
        size: (height, width) of the images.
        what: its name, for messages.
        said: remarks so far.

    Raises:
        ValueError: if it is no classifier of images through which gradients pass.
    """
    half = check_precision(network, what)
    channels = check_input(network, what)
    said = dict(said)
    if half is not None:
        network = copy.deepcopy(network).float()  # a model in hand stays as it is
        said["precision"] = f"{_short(half)} parameters are raised to float32"
    if channels == 1:
        network = Greyscale(network)
        said["input"] = "one channel: colours are converted to grey, 0.299 R + 0.587 G + 0.114 B"
    outputs = outputs_of(network, 3, size, what)
    if outputs < 2:
        raise ValueError(f"model {what} answers with one number; adopt takes a logit for each of two classes or more")
    return Built(network, outputs, "greyscale" if channels == 1 else "plain", said)


def _published(name: str, size: tuple[int, int]) -> nn.Module:
    try:
        return build_network(name, None, pretrained=True, image_size=size)
    except ValueError as error:
        if str(error).startswith("pretrained weights do not exist"):
            raise ValueError(f"model {name} has no published weights; name a file of yours by --weights") from None
        raise


def _origin(name: str) -> str:
    return f"as {name} returns them" if is_own_code(name) else f"published for {name}"


def _sized(name: str, weights: Weights, size: tuple[int, int]) -> nn.Module:
    """Build a network with as many logits and input channels as the weights have."""
    network = build_network(name, None, image_size=size)
    layers = [(path, each) for path, each in network.named_modules() if isinstance(each, nn.Conv2d | nn.Linear)]
    if not layers:
        return network
    classifier = weights.shape_of(f"{classifier_of(network)[0]}.weight")
    path, first = layers[0]
    stem = weights.shape_of(f"{path}.weight")
    grey = isinstance(first, nn.Conv2d) and first.in_channels == 3 and stem is not None and stem[1] == 1
    if not grey and (classifier is None or classifier[0] == _outputs(network)):
        return network
    outputs = None if classifier is None else classifier[0]
    return build_network(name, outputs, in_channels=1 if grey else 3, image_size=size)


def _outputs(network: nn.Module) -> int:
    classifier = classifier_of(network)[1]
    return classifier.out_channels if isinstance(classifier, nn.Conv2d) else classifier.out_features


def _said(path: Path, weights: Weights, fitted: Fitted) -> str:
    """Return in words which of a file's values were taken."""
    parts = [str(path)]
    if weights.where:
        parts.append(f"its {weights.where}")
    if fitted.prefix:
        parts.append(f"prefix {fitted.prefix} taken off")
    if fitted.left_out:
        more = len(fitted.left_out) - 1
        parts.append(f"left out: {fitted.left_out[0]}" + (f" and {more} more" if more else ""))
    kinds = {_short(value.dtype) for value in fitted.state.values() if value.dtype in _HALF}
    if kinds:
        parts.append(f"raised from {' and '.join(sorted(kinds))} to float32")
    return "; ".join(parts)


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
