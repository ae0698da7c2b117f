"""Read a run folder back: settings, weights and history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from looksharp.data.split import Pixels
from looksharp.files import read_mapping
from looksharp.networks import build_classifier
from looksharp.networks.backbones.sources.own_code import code_from
from looksharp.processes.place import local_rank
from looksharp.settings import SettingError
from looksharp.training.facts import read_facts
from looksharp.training.history import read_history
from looksharp.training.settings import RunConfig
from looksharp.training.state import fit_weights, read_checkpoint

__all__ = ["Run", "build_model", "find_device", "load_run", "read_config", "read_facts"]


@dataclass(frozen=True)
class Run:
    """A trained run.

    Attributes:
        path: its folder; None for a model that was adopted without one.
        config: its settings.
        model: the network with its trained weights, in evaluation mode.
        classes: class names.
        pixels: the way from images to the network's input.
        multilabel: True if an image may have several classes.
        seconds: training time.
    """

    path: Path | None
    config: RunConfig
    model: nn.Module
    classes: tuple[str, ...]
    pixels: Pixels
    multilabel: bool
    seconds: float

    @property
    def folder(self) -> Path:
        """Return its folder.

        Raises:
            ValueError: if it has none.
        """
        if self.path is None:
            raise ValueError("the run has no folder, which this needs; adopt the model with out=FOLDER")
        return self.path

    @property
    def history(self) -> list[dict[str, float]]:
        """Return one row of logged values an epoch."""
        return read_history(self.folder / "metrics.csv")


def read_config(path: Path | str) -> RunConfig:
    """Read the settings of a run folder.

    Raises:
        ValueError: if config.yaml is missing or damaged; the message names the file and the setting.
    """
    file = Path(path) / "config.yaml"
    values = read_mapping(file, "a run's settings")
    try:
        return RunConfig.from_flat(values)
    except SettingError as error:
        raise ValueError(f"{file}: {error}") from None


def load_run(path: Path | str, checkpoint: str = "last", device: str = "auto") -> Run:
    """Read a run folder back.

    Args:
        path: the folder that `train` left.
        checkpoint: "last" or "best".
        device: device of the model.

    Raises:
        ValueError: if the folder is no run, or has no such checkpoint.
    """
    path = Path(path)
    facts = read_facts(path)
    weights = path / "checkpoints" / f"{checkpoint}.ckpt"
    if not weights.is_file():
        raise ValueError(f"run folder {path} has no checkpoint checkpoints/{checkpoint}.ckpt; train it first")
    config = read_config(path)
    model = build_model(config, len(facts.classes), facts.pixels, facts.multilabel, pretrained=False)
    fit_weights(model, read_checkpoint(weights), weights)
    model = model.eval().to(find_device(device))
    return Run(path, config, model, facts.classes, facts.pixels, facts.multilabel, facts.seconds or 0.0)


def build_model(
    config: RunConfig,
    classes: int,
    pixels: Pixels,
    multilabel: bool,
    pretrained: bool | None = None,
    weights: Mapping[str, torch.Tensor] | None = None,
) -> nn.Module:
    """Build the network that the settings describe.

    Args:
        config: all settings.
        classes: number of classes.
        pixels: the way from images to the network's input.
        multilabel: True if an image may have several classes.
        pretrained: start from published weights; by the settings if not given.
        weights: state of a trained backbone to start from; see `build_classifier`.

    Raises:
        ValueError: if there is no such network or option.
    """
    network = config.network
    with code_from(network.code):
        return build_classifier(
            network.backbone,
            classes,
            image_size=pixels.size,
            architecture=network.architecture,
            options=network.settings,
            multilabel=multilabel,
            pretrained=network.pretrained if pretrained is None else pretrained,
            weights=weights,
        )


def find_device(name: str) -> torch.device:
    """Find the device of that name; "auto" is an accelerator where there is one.

    Of several processes on one machine each has an accelerator of its own, in the order of their numbers.

    Raises:
        ValueError: if this machine has no such device.
    """
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    found = accelerator or torch.device("cpu")
    if name in ("auto", found.type) and accelerator is not None and local_rank():
        return torch.device(found.type, local_rank() % torch.accelerator.device_count())
    if name == "auto":
        return found
    try:
        device = torch.device(name)
        known = device.type in ("cpu", found.type)
    except RuntimeError:  # no device's name
        known = False
    if not known:
        raise ValueError(f"device must be auto, cpu or one of this machine's; it has {found.type}; got {name!r}")
    return device
