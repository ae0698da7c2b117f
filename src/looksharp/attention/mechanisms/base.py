"""Mechanisms of two kinds, and the registry of both."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeGuard, runtime_checkable

from torch import Tensor, nn

from looksharp.registry import Choices, Registry

__all__ = [
    "IMAGE",
    "MECHANISMS",
    "TRAINABLE",
    "Answered",
    "Contrast",
    "MapFunction",
    "Mechanism",
    "ModelMechanism",
    "SinglePass",
    "contrast_of",
]

MapFunction = Callable[[Tensor, Tensor], Tensor]
"""A pure function (features, gradients) -> map; see `looksharp.attention.mechanisms`."""

IMAGE = "image"
"""The name, in place of a layer's, of a map that lies in the input's own pixels."""


class ModelMechanism(ABC):
    """A mechanism that runs the model itself; its fields are its settings.

    A subclass is a frozen dataclass under `looksharp.settings.settings`. Its maps cannot be trained on.

    Attributes:
        layered: True if maps are read at layers; False if they lie in the input's pixels, or need no choice of layers.
        signed: True if negative values are evidence against a class; False if they mean nothing.
        uses_classes: True if maps differ between classes; False if one map serves all of them.
    """

    layered: ClassVar[bool] = True
    signed: ClassVar[bool] = True
    uses_classes: ClassVar[bool] = True

    @abstractmethod
    def maps(self, model: nn.Module, images: Tensor, classes: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Compute maps before their ReLU, detached, float32 or float64; nothing of the model changes.

        Args:
            model: any classifier, in whatever mode.
            images: (B, C, H, W), normalised as the model expects.
            classes: (B, K) valid class indices on the images' device.
            layers: names of layers; empty if the mechanism is not `layered`.

        Returns:
            Layer name, or `IMAGE` -> maps (B, K, h, w).

        Raises:
            ValueError: if the mechanism has no meaning for this model; one line that says why.
        """


@dataclass(frozen=True)
class Answered:
    """Results of one forward of a mechanism.

    Attributes:
        logits: detached (B, C).
        maps: makes the maps of classes (B, K); see `ModelMechanism.maps`.

    """

    logits: Tensor
    maps: Callable[[Tensor], dict[str, Tensor]]


class SinglePass(ModelMechanism):
    """A mechanism whose one forward gives the logits too, so that `attend` runs no other."""

    @abstractmethod
    def answered(self, model: nn.Module, images: Tensor, layers: Sequence[str]) -> Answered:
        """Run the model once; arguments and errors are those of `maps`."""

    def maps(self, model: nn.Module, images: Tensor, classes: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Run the model once and make the maps; see `ModelMechanism.maps`."""
        return self.answered(model, images, layers).maps(classes)


Mechanism = MapFunction | ModelMechanism
"""Either kind. A function can be trained on."""


@runtime_checkable
class Contrast(Protocol):
    """A function of features and gradients that chooses which combination of logits is differentiated."""

    def cotangents(self, logits: Tensor, classes: Tensor) -> Tensor:
        """Return the weight (B, K, C) of each logit in the scores whose gradients the mechanism reads.

        Args:
            logits: detached (B, C).
            classes: (B, K) class indices.
        """


def contrast_of(mechanism: MapFunction, logits: Tensor, classes: Tensor) -> Tensor | None:
    """Return the weights (B, K, C) of the logits that a mechanism differentiates; None for the classes' own."""
    return mechanism.cotangents(logits.detach(), classes) if isinstance(mechanism, Contrast) else None


class Spelled(ModelMechanism):
    """A mechanism that is in no registry and says what it is called."""

    @property
    @abstractmethod
    def spelling(self) -> str | None:
        """Return a name that tells it from others; None if it has none."""


MECHANISMS: Registry[MapFunction | type[MapFunction] | type[ModelMechanism]] = Registry(
    "mechanism", "looksharp.attention.mechanisms"
)
"""Every mechanism by name: a function, or a class whose fields are settings."""


def _trains(thing: object) -> TypeGuard[MapFunction | type[MapFunction]]:
    return not (isinstance(thing, type) and issubclass(thing, ModelMechanism))


TRAINABLE = Choices(MECHANISMS, _trains)
"""Names of the mechanisms that objectives can train on."""
