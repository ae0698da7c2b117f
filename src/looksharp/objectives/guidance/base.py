"""Losses of marked (image, class) pairs, by class and by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from looksharp.attention.attend import attention_maps
from looksharp.attention.maps import resize_masks
from looksharp.attention.mechanisms import MechanismChoice, find_trainable
from looksharp.batch import Batch, BatchMarks
from looksharp.objectives.base import PARTS, Forward, Part, Term
from looksharp.objectives.layer_choice import LayerChoice
from looksharp.objectives.pair_maps import pair_maps
from looksharp.objectives.warm_up import WarmUp

__all__ = ["Guidance", "GuidanceLoss", "MapGuidance", "guidance_losses", "masks_like"]


@dataclass(eq=False)
class GuidanceLoss(Part, ABC):
    """The term "guidance": the loss of marked (image, class) pairs.

    It is averaged over an image's marked classes, as in GAIN Eq. 7, then over the batch's marked images. GAIN Eq. 8,
    L_ext = L_cl + alpha L_am + 10 L_e, is `GAIN() + Guidance("squared_error")`. Batches without marks add nothing.

    Args:
        weight: weight of the term.
        warmup: training steps over which the weight rises from 0.
    """

    reads_marks = True

    weight: float = 1.0
    warmup: int = 0

    def __post_init__(self) -> None:
        self._rise = WarmUp(self.warmup)

    def terms(self, forward: Forward) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """Return the mean over an image's marked classes, then over the marked images."""
        weight, marks = self.weight * self._rise(forward), forward.batch.marks
        if not marks:
            return {"guidance": Term(forward.logits.new_zeros(()), weight)}, {}
        order = marks.sample.argsort(stable=True)
        marks = BatchMarks(marks.sample[order], marks.label[order], marks.mask[order])
        counts = torch.bincount(marks.sample, minlength=len(forward.batch))  # of each image's pairs
        values = self.losses(forward, marks)
        sums = values.new_zeros(len(counts)).index_add(0, marks.sample, values)
        value = (sums / counts.clamp(min=1)).sum() / (counts > 0).sum()
        return {"guidance": Term(value, weight)}, {}

    @abstractmethod
    def losses(self, forward: Forward, marks: BatchMarks) -> Tensor:
        """Return the loss (G,) of each marked pair.

        Args:
            forward: the forward of the batch.
            marks: the pairs, at least one, in rising order of their images.
        """


@dataclass(eq=False)
class MapGuidance(GuidanceLoss, ABC):
    """A guidance loss of the marked classes' maps at one layer.

    Args:
        weight: weight of the term.
        mechanism: mechanism that makes the maps.
        layer: layer whose maps are read; found in the backbone if not given.
        warmup: training steps over which the weight rises from 0.
    """

    mechanism: MechanismChoice = "grad_cam"
    layer: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        find_trainable(self.mechanism)
        self._choose = LayerChoice(None if self.layer is None else [self.layer], 1)

    def recorded(self, model: nn.Module, batch: Batch) -> tuple[str, ...]:
        """Return the layer that maps are read from."""
        return self._choose(model, batch)

    def maps(
        self, forward: Forward, marks: BatchMarks, classes: Tensor | None = None, *, signed: bool = False
    ) -> Tensor:
        """Return the maps (G, h, w) of the marked pairs, or of other classes (G,) in their images."""
        (layer,) = self._choose(forward.model, forward.batch)
        chosen = marks.label if classes is None else classes
        return pair_maps(forward, layer, marks.sample, chosen, self.mechanism, signed=signed)

    def maps_of_all(self, forward: Forward) -> Tensor:
        """Return the signed maps (B, C, h, w) of all classes in every image."""
        (layer,) = self._choose(forward.model, forward.batch)
        classes = torch.arange(forward.logits.shape[1], device=forward.logits.device)
        return attention_maps(
            forward.output,
            forward.features.restricted([layer]),
            classes.expand(len(forward.batch), -1),
            self.mechanism,
            create_graph=forward.differentiable,
            signed=True,
        )[layer]


def masks_like(masks: Tensor, maps: Tensor) -> Tensor:
    """Return masks (G, H, W) in the size and dtype of maps (G, h, w)."""
    return resize_masks(masks.to(maps.dtype), (maps.shape[-2], maps.shape[-1]))


def guidance_losses() -> tuple[str, ...]:
    """Return the names of all guidance losses in `PARTS`."""
    return tuple(name for name, part in PARTS.items() if issubclass(part, GuidanceLoss))


def Guidance(loss: str = "squared_error", weight: float | None = None, **settings: object) -> GuidanceLoss:
    """Make a guidance loss by its name: `Guidance("energy")` is `PARTS["energy"]()`.

    Args:
        loss: "squared_error", the map divided by its maximum equals the mask (GAIN_ext);
            "energy", no share of the map's mass lies outside the mask;
            "evidence", the same for the map before its ReLU, so that evidence *against* the class counts;
            "contrast", the same for the difference between the class's map and that of the most confusing class;
            "evidence_all", the same for the maps of all classes together;
            "rrr", no input gradient outside the mask;
            or your own loss, registered in `PARTS`.
        weight: weight of the term; the loss's own default if not given.
        settings: the loss's other settings: warmup and, for losses of maps, mechanism and layer.

    Raises:
        ValueError: if there is no such loss.
    """
    if loss not in guidance_losses():
        raise ValueError(f"guidance loss must be one of {', '.join(guidance_losses())}; got {loss!r}")
    part = PARTS[loss](**settings) if weight is None else PARTS[loss](weight=weight, **settings)
    assert isinstance(part, GuidanceLoss)
    return part
