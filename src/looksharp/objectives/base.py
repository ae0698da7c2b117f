"""Objectives: `objective(model, batch) -> Step`, one part or a sum of parts that share one forward.

An objective owns no network and works in any training loop. A part names the layers it needs recorded and turns the
forward into weighted terms, so parts combine freely: `GAIN() + Guidance("energy")`.
"""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Self

import torch
from torch import Tensor, nn

from looksharp.attention.recording import Recording, logits_of, record
from looksharp.batch import Batch, as_batch
from looksharp.registry import Registry

if TYPE_CHECKING:
    from looksharp.data.split import Pixels, Split

__all__ = ["PARTS", "Extension", "Forward", "Objective", "Part", "Step", "Sum", "Term"]


@dataclass(frozen=True)
class Step:
    """One training step's result.

    Attributes:
        loss: scalar to call `backward` on.
        logits: (B, classes), part of the graph, unless under `torch.no_grad`.
        terms: name -> detached scalar, each before its weight; a second term of one name is called NAME#2.
        maps: name -> detached maps (B, K, h, w) that the step computed.
    """

    loss: Tensor
    logits: Tensor
    terms: dict[str, Tensor] = field(default_factory=dict)
    maps: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Forward:
    """One forward of a model, as parts read it.

    Attributes:
        model: the model that ran.
        batch: the batch that it ran on.
        output: its output.
        logits: (B, classes).
        features: recording of the layers that the parts asked for.
    """

    model: nn.Module
    batch: Batch
    output: object
    logits: Tensor
    features: Recording

    @property
    def differentiable(self) -> bool:
        """Return True where maps are trained on; False where they are only looked at (under `torch.no_grad`)."""
        return torch.is_grad_enabled()


class Term(NamedTuple):
    """A scalar and its weight in the loss."""

    value: Tensor
    weight: float | Tensor = 1.0


class Objective(nn.Module, ABC):
    """A loss for one training step; a module only so that a schedule's counter is saved with a checkpoint."""

    @property
    @abstractmethod
    def parts(self) -> tuple[Part, ...]:
        """Return the parts whose weighted terms are summed."""

    def __add__(self, other: Objective) -> Sum:
        """Return the sum of both; see `Sum`."""
        return Sum(self, other)

    def forward(self, model: nn.Module, batch: Batch | Mapping[str, Tensor] | Sequence[Tensor]) -> Step:
        """Run `model` once on the batch and sum all terms.

        Args:
            model: any classifier.
            batch: images, targets and optional marks; see `as_batch` for its forms.
        """
        batch = as_batch(batch)
        own = len(batch)
        for part in self.parts:
            if isinstance(part, Extension):
                batch = part.extend(batch)
        layers = dict.fromkeys(layer for part in self.parts for layer in part.recorded(model, batch))
        if layers:
            with record(model, layers) as features:
                output = model(batch.image)
        else:
            features, output = Recording(()), model(batch.image)
        forward = Forward(model, batch, output, logits_of(output), features)
        loss = forward.logits.new_zeros(())
        terms: dict[str, Tensor] = {}
        maps: dict[str, Tensor] = {}
        for part in self.parts:
            found, read = part.terms(forward)
            for name, term in found.items():
                value = term.value.to(
                    torch.promote_types(term.value.dtype, torch.float32)
                )  # of a model in half precision
                loss = loss + term.weight * value
                same = sum(known.partition("#")[0] == name for known in terms)
                terms[f"{name}#{same + 1}" if same else name] = value.detach()
            maps |= {layer: values.detach()[:own] for layer, values in read.items()}
        logits = forward.logits[:own]
        return Step(loss, logits if forward.differentiable else logits.detach(), terms, maps)


class Part(Objective):
    """A term, or a family of terms: an objective alone, or part of a sum with others.

    A part is registered in `PARTS`, and its signature is its settings: most are dataclasses, `@dataclass(eq=False)`.

    Attributes:
        classifies: True if the classification loss is one of its terms. A sum has at most one such part.
        segments: True if it trains a segmentation, from labels too: an objective needs no part that classifies then.
        reads_marks: True if it reads the marks of images.
        reads_cues: True if it reads what a person called a shortcut.
    """

    classifies: bool = False
    segments: bool = False
    reads_marks: bool = False
    reads_cues: bool = False

    def __new__(cls, *given: object, **named: object) -> Self:
        """Make the module before a dataclass sets its fields.

        Raises:
            ValueError: if a number among the arguments is not finite.
        """
        part = super().__new__(cls)
        nn.Module.__init__(part)
        for name, value in [*zip(inspect.signature(cls).parameters, given, strict=False), *named.items()]:
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{name} must be a finite number; got {value}")
        return part

    @property
    def parts(self) -> tuple[Part, ...]:
        """Return the part itself."""
        return (self,)

    @abstractmethod
    def recorded(self, model: nn.Module, batch: Batch) -> tuple[str, ...]:
        """Return the names of the layers to record; none if empty."""

    @abstractmethod
    def terms(self, forward: Forward) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """Return terms by name, and the maps (B, K, h, w) they were read from, by layer."""

    def prepare(self, images: Split, pixels: Pixels, seed: int) -> None:
        """Read what the part needs before training starts; nothing by default.

        Args:
            images: the training images.
            pixels: the way from images to a network's input.
            seed: seed of everything drawn.

        Raises:
            ValueError: if the data lack something the part needs.
        """


class Extension(Part):
    """A part that adds altered copies of a batch's images, which then share the one forward with the others."""

    @abstractmethod
    def extend(self, batch: Batch) -> Batch:
        """Return the batch with copies at its end; as it is where it has such copies. See `Batch.extended`."""


class Sum(Objective):
    """A sum of parts.

    Args:
        objectives: parts, or sums of them; each part adds its terms to the loss.

    Raises:
        TypeError: if something else is added, or two parts classify.
    """

    def __init__(self, *objectives: Objective) -> None:
        super().__init__()
        others = [type(each).__name__ for each in objectives if not isinstance(each, Objective)]
        if others:
            raise TypeError(f"an objective is a sum of parts, such as Guidance(); got {', '.join(others)}")
        parts = [part for objective in objectives for part in objective.parts]
        classifying = [type(part).__name__ for part in parts if part.classifies]
        if len(classifying) > 1:
            raise TypeError(f"an objective classifies once; got {' and '.join(classifying)}: leave one out")
        self._parts = nn.ModuleList(parts)

    @property
    def parts(self) -> tuple[Part, ...]:
        """Return the parts, in the order in which they were added."""
        return tuple(part for part in self._parts if isinstance(part, Part))


PARTS: Registry[type[Part]] = Registry("objective part", "looksharp.objectives")
"""Every part of an objective by the name that settings use; its signature is its settings."""
