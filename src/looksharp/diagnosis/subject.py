"""Read the network to be looked at: a run's, or one that is named."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from looksharp.adopting.building import build_named, wrapped
from looksharp.attention.layout import pair
from looksharp.data.pixels import Pixels
from looksharp.diagnosis.settings import DoctorSettings
from looksharp.networks.backbones.build import build_network, is_own_code, source_of
from looksharp.networks.backbones.families import family_of
from looksharp.networks.backbones.sources.own_code import code_from
from looksharp.networks.head_parameters import classifier_of
from looksharp.training.folder import find_device, load_run

__all__ = ["Subject", "read_subject"]

_SIDE = 224  # of a model that states none
_CLASSES = 10  # of a network that has no number of its own


@dataclass(frozen=True)
class Subject:
    """A network and what is known beside it.

    Attributes:
        network: the network, in evaluation mode.
        size: (height, width) of its images.
        pixels: the way from images to its input; None if nothing says.
        classes: names of its classes; none if nothing says.
        origin: where the names are from, for messages.
        said: what it is and which weights it has, in words, by topic.
        unread: why the pixels are not known; "" if they are.
    """

    network: nn.Module
    size: tuple[int, int]
    pixels: Pixels | None
    classes: tuple[str, ...]
    origin: str
    said: dict[str, str]
    unread: str = ""


def read_subject(chosen: DoctorSettings) -> Subject:
    """Read a run, or build the model of a name.

    Raises:
        ValueError: if there is neither a run nor a model of that name, or it is no classifier of images.
    """
    path = Path(chosen.subject)
    return _of_run(chosen, path) if path.is_dir() else _of_model(chosen)


def _of_run(chosen: DoctorSettings, path: Path) -> Subject:
    asked = {"weights": chosen.weights, "pretrained": chosen.pretrained, "image_size": chosen.image_size}
    other = next((name for name, value in asked.items() if value), None)
    if other is not None:
        raise ValueError(f"{other} is for a model that is named; {path} is a run folder, which has its own")
    run = load_run(path, chosen.checkpoint, chosen.device)
    network = run.config.network
    built = "" if network.architecture == "plain" else f" in {network.architecture}"
    said = {
        "run": f"{path}, {network.backbone}{built}, {_size(run.model)}",
        "weights": f"checkpoint {chosen.checkpoint}, all finite",
    }
    return Subject(run.model, run.pixels.size, run.pixels, run.classes, "the run", said)


def _of_model(chosen: DoctorSettings) -> Subject:
    name = chosen.subject
    source = source_of(name)
    with code_from(Path.cwd() if is_own_code(name) else None):
        stated = source.stated(name)
        own = (_SIDE, _SIDE) if stated.pixels is None else stated.pixels.size
        size = own if chosen.image_size is None else pair(chosen.image_size)
        if chosen.weights is not None or chosen.pretrained or is_own_code(name):
            built = build_named(name, chosen.weights, size)
        else:
            built = wrapped(
                _new(name, size), size, name, {"weights": "new and random; --weights or --pretrained loads others"}
            )
    said = {"model": f"{name}, {_size(built.network)}", **built.said}
    network = built.network.eval().to(find_device(chosen.device))
    return Subject(network, size, stated.pixels, stated.classes, stated.origin, said, stated.lost)


def _new(name: str, size: tuple[int, int]) -> nn.Module:
    """Build a network of random weights; a classifier of zeros, whose maps would all be equal, is drawn too."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_network(name, _CLASSES if family_of(name) is not None else None, image_size=size)
        weight = classifier_of(network)[1].weight
        if not weight.any():
            nn.init.normal_(weight, std=0.02)
    return network


def _size(network: nn.Module) -> str:
    return f"{sum(parameter.numel() for parameter in network.parameters()) / 1e6:.3g} M parameters"
