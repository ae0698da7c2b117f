"""What an objective is: `objective(model, batch) -> Step`, a sum of parts that share one forward.

It owns no network and works in anybody's loop. A part names the layers it needs recorded and turns the forward
into weighted terms, so parts combine freely: `GAIN() + Guidance("energy")`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from looksharp.attention.recording import Recording, logits_of, record, unwrapped
from looksharp.attention.stages import last_stages
from looksharp.batch import Batch, as_batch

__all__ = ["Extension", "Forward", "LayerChoice", "Objective", "Part", "Step", "Term", "WarmUp", "second_pass"]


@dataclass(frozen=True)
class Step:
    """One training step's result.

    Attributes:
        loss: scalar to call `backward` on.
        logits: (B, classes), part of the graph, unless under `torch.no_grad`.
        terms: name -> detached scalar, each before its weight; a second term of one name is called NAME#2.
        maps: name -> detached maps (B, K, h, w) that the step computed on the way.
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
        batch: what it ran on.
        output: what it returned.
        logits: (B, classes).
        features: the layers that all parts asked for, recorded.
    """

    model: nn.Module
    batch: Batch
    output: object
    logits: Tensor
    features: Recording

    @property
    def differentiable(self) -> bool:
        """Whether maps are to be trained on, or only looked at (under `torch.no_grad`)."""
        return torch.is_grad_enabled()


class Term(NamedTuple):
    """A scalar and its weight in the loss."""

    value: Tensor
    weight: float | Tensor = 1.0


class Part(nn.Module, ABC):
    """A family of terms. A module only so that a schedule's counter is saved with a checkpoint."""

    @abstractmethod
    def layers(self, model: nn.Module, batch: Batch) -> tuple[str, ...]:
        """Names of the layers to record; none if empty."""

    @abstractmethod
    def forward(self, forward: Forward) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """Terms by name, and the maps (B, K, h, w) they were read from, by layer."""


class Extension(Part, ABC):
    """A part that adds altered copies of a batch's images, which then go through the one forward with the others."""

    @abstractmethod
    def extend(self, batch: Batch) -> Batch:
        """The batch with copies at its end, their origins in `copies`."""


class Objective(nn.Module):
    """A sum of parts.

    Args:
        parts: each adds its terms to the loss.

    Raises:
        TypeError: if something else is added, another objective for one.
    """

    def __init__(self, *parts: Part) -> None:
        super().__init__()
        others = [type(part).__name__ for part in parts if not isinstance(part, Part)]
        if others:
            raise TypeError(f"an objective is a sum of parts, such as Guidance(); got {', '.join(others)}")
        self._parts = nn.ModuleList(parts)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts, to combine with others."""
        return tuple(part for part in self._parts if isinstance(part, Part))

    def __add__(self, part: Part) -> Objective:
        """The same objective with one more part."""
        return Objective(*self.parts, part)

    def forward(self, model: nn.Module, batch: Batch | Mapping[str, Tensor] | Sequence[Tensor]) -> Step:
        """Run `model` once on the batch (see `as_batch` for its forms) and sum all terms."""
        batch = as_batch(batch)
        own = len(batch)
        for part in self.parts:
            if isinstance(part, Extension):
                batch = part.extend(batch)
        layers = dict.fromkeys(layer for part in self.parts for layer in part.layers(model, batch))
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
            found, read = part(forward)
            for name, term in found.items():
                loss = loss + term.weight * term.value
                same = sum(known.partition("#")[0] == name for known in terms)
                terms[f"{name}#{same + 1}" if same else name] = term.value.detach()
            maps |= {layer: values.detach()[:own] for layer, values in read.items()}
        logits = forward.logits[:own]
        return Step(loss, logits if forward.differentiable else logits.detach(), terms, maps)


class WarmUp(nn.Module):
    """A factor that rises linearly from 0 to 1 over the first `steps` training steps; 1 always if 0 steps."""

    done: Tensor

    def __init__(self, steps: int) -> None:
        super().__init__()
        if steps < 0:
            raise ValueError(f"warmup must be a number of steps >= 0; got {steps}")
        self.steps = steps
        self.register_buffer("done", torch.zeros((), dtype=torch.long))

    def forward(self, forward: Forward) -> float | Tensor:
        """The factor of this step; training steps are counted."""
        if self.steps == 0:
            return 1.0
        factor = (self.done / self.steps).clamp(max=1.0)
        if forward.model.training and forward.differentiable:
            self.done += 1
        return factor


class LayerChoice:
    """Layers given by name, or the ends of a network's last stages.

    Args:
        names: names of layers; None to find them.
        count: how many.
    """

    def __init__(self, names: Sequence[str] | None, count: int) -> None:
        if names is not None and len(names) != count:
            raise ValueError(f"layers must name {count} layer(s), the last one last; got {list(names)}")
        self.names, self.count = None if names is None else tuple(names), count

    def __call__(self, model: nn.Module, batch: Batch) -> tuple[str, ...]:
        """The names, the last layer last."""
        return self.names or last_stages(model, batch.image, self.count)


def second_pass(model: nn.Module, images: Tensor) -> Tensor:
    """Logits of another forward that shares the model's parameters and leaves its buffers alone.

    In training mode BatchNorm normalises by these images' own statistics, and its running ones do not move.
    """
    network = unwrapped(model)
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    return logits_of(torch.func.functional_call(network, buffers, (images,)))
