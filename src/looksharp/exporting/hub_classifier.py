"""A run's classifier in the form in which the Hugging Face Hub keeps PyTorch models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from looksharp.attention.recording import logits_of
from looksharp.data.pixels import Pixels
from looksharp.settings import build
from looksharp.training.folder import Run, build_model
from looksharp.training.settings import RunConfig

__all__ = ["HubClassifier"]

_KEPT = ("backbone", "architecture")


class HubClassifier(
    nn.Module, PyTorchModelHubMixin, library_name="looksharp", pipeline_tag="image-classification", tags=["looksharp"]
):
    """A network of looksharp that is built again from its config.json, architectures around a backbone included.

    `HubClassifier.from_pretrained(NAME_OR_FOLDER)` loads it, and its `run` is what `explain`, `evaluate` and `attend`
    take.

    Args:
        network: backbone, architecture and the architecture's settings below its name, as config.yaml has them.
        classes: class names, in the order of the logits.
        pixels: fields of `Pixels`.
        multilabel: True if an image may have several classes.

    Raises:
        ValueError: if there is no such network, or a setting is wrong.

    Example:
        >>> pixels = {"size": [32, 32]}
        >>> found = HubClassifier({"backbone": "small"}, classes=["cat", "dog"], pixels=pixels)
        >>> found.run.classes, found.run.pixels.size
        (('cat', 'dog'), (32, 32))

    """

    def __init__(
        self,
        network: Mapping[str, Any],
        classes: Sequence[str],
        pixels: Mapping[str, Any],
        multilabel: bool = False,
    ) -> None:
        super().__init__()
        self.config = RunConfig.from_flat(network)
        self.pixels = build(Pixels, pixels, "pixels")
        self.classes, self.multilabel = tuple(classes), multilabel
        self.model = build_model(self.config, len(self.classes), self.pixels, multilabel, pretrained=False)

    @classmethod
    def of(cls, run: Run) -> HubClassifier:
        """Return the classifier of a run, with its weights.

        Raises:
            ValueError: if its backbone is a folder of this machine.
        """
        flat, name = run.config.flat(), run.config.network.backbone
        place = name.partition(":")[2]
        if place and Path(place).is_dir():
            raise ValueError(
                f"backbone {name} is a folder of this machine, from which nobody else can build it; export it as onnx "
                f"or torch, or push that folder itself"
            )
        kept = {key: flat[key] for key in (*_KEPT, run.config.network.architecture) if key in flat}
        found = cls(network=kept, classes=list(run.classes), pixels=asdict(run.pixels), multilabel=run.multilabel)
        found.model.load_state_dict(run.model.state_dict())
        return found.eval()

    @property
    def run(self) -> Run:
        """Return it as a run without a folder."""
        return Run(None, self.config, self.model.eval(), self.classes, self.pixels, self.multilabel, 0.0)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, C) for images (B, 3, H, W), normalised by `pixels`."""
        return logits_of(self.model(images))

    @classmethod
    def _load_as_safetensor(cls, model: Any, model_file: str, map_location: str, strict: bool) -> Any:
        """Load weights; the mixin's default would leave those that a file lacks at random."""
        return super()._load_as_safetensor(model, model_file, map_location, strict=True)
