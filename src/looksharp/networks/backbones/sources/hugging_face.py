"""Image classifiers of transformers: `hf:NAME` of the Hugging Face Hub or its cache, or `hf:FOLDER`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from looksharp.networks.backbones.source import NETWORK_SOURCES, Asked, Source, Stated, unloadable

__all__ = ["HuggingFace"]

_PREFIX = "hf:"


class HuggingFace(Source):
    """transformers' `AutoModelForImageClassification`; a folder is one that `save_pretrained` wrote."""

    def build(self, name: str, asked: Asked) -> nn.Module:
        """Build a network of transformers, in float32."""
        transformers, place = _transformers(), name.removeprefix(_PREFIX)
        try:
            config = transformers.AutoConfig.from_pretrained(place)
            own = config.num_labels
            if asked.num_classes is not None and asked.num_classes != own:
                config.num_labels = asked.num_classes
            if asked.in_channels != 3:
                config.num_channels = asked.in_channels
            kind = transformers.AutoModelForImageClassification
            if not asked.pretrained:
                network: nn.Module = kind.from_config(config, dtype=torch.float32)
                return network
            differs = config.num_labels != own
            network = kind.from_pretrained(place, config=config, dtype=torch.float32, ignore_mismatched_sizes=differs)
        except (OSError, ValueError, RuntimeError) as error:
            raise unloadable(name, error) from error
        return network.train()

    def stated(self, name: str) -> Stated:
        """Return what the image processor beside the weights says, and the names in its configuration."""
        transformers, place = _transformers(), name.removeprefix(_PREFIX)
        try:
            labels = transformers.AutoConfig.from_pretrained(place).id2label
        except (OSError, ValueError) as error:
            raise unloadable(name, error) from error
        try:
            processor = transformers.AutoImageProcessor.from_pretrained(place)
        except (OSError, ValueError):  # there is none
            return Stated(None, _names(labels), f"the configuration of {name}")
        return Stated.of(processor, _names(labels), f"the image processor of {name}")

    def carried(self, network: nn.Module) -> Stated | None:
        """Return the names in the model's configuration; the pixels are its image processor's."""
        labels = getattr(getattr(network, "config", None), "id2label", None)
        return Stated(None, _names(labels), "the model's id2label") if isinstance(labels, dict) else None

    def located(self, name: str) -> str:
        """Return the name with the whole path of a local folder."""
        folder = Path(name.removeprefix(_PREFIX))
        return f"{_PREFIX}{folder.absolute()}" if folder.is_dir() else name


def _names(labels: dict[int, str]) -> tuple[str, ...]:
    names = tuple(str(labels[index]) for index in sorted(labels))
    placeholders = tuple(f"LABEL_{index}" for index in range(len(names)))
    return () if names == placeholders else names


def _transformers() -> Any:
    try:
        import transformers
    except ImportError:
        raise ValueError("backbones hf:NAME need the package transformers: pip install transformers") from None
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


NETWORK_SOURCES.add("hf", HuggingFace())
