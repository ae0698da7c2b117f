"""ICASC: separable attention of confused classes, consistent across layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from looksharp.attention.attend import attention_maps
from looksharp.attention.mechanisms import MechanismChoice, find_trainable
from looksharp.batch import Batch
from looksharp.objectives.base import PARTS, Forward, Part, Term
from looksharp.objectives.classification import Smoothing, classification_loss
from looksharp.objectives.equations import Normalize, separation_and_consistency
from looksharp.objectives.layer_choice import LayerChoice
from looksharp.objectives.warm_up import WarmUp

__all__ = ["ICASC", "confused_classes"]

_NORMALIZE = (None, *get_args(Normalize))


class _Preset(NamedTuple):
    weight: float
    normalize: Normalize


_PRESETS = {"light": _Preset(0.1, "each"), "paper": _Preset(1.0, "each"), "literal": _Preset(1.0, "none")}


def confused_classes(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the true classes and the most confusing one: the wrong class with the highest score.

    ICASC Sec. 3.2.

    Args:
        logits: (B, C).
        targets: class indices (B,), or multi-hot (B, C).

    Returns:
        classes: (B, T + 1), each image's true classes, padded to the largest number T in the batch, and last its
            most confusing class.
        valid: (B, T) booleans, False for padding and for images that have no wrong class.

    Example:
        >>> confused_classes(torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([0]))
        (tensor([[0, 2]]), tensor([[True]]))

    """
    scores = logits.detach().float()
    if targets.ndim == 1:
        true = targets.unsqueeze(1)
        wrong = scores.scatter(1, true, -torch.inf)
        return torch.cat([true, wrong.argmax(1, keepdim=True)], 1), torch.ones_like(true, dtype=torch.bool)
    present = targets > 0.5
    absent = ~present & (targets >= 0)  # below 0 is not known
    confusing = scores.masked_fill(~absent, -torch.inf).argmax(1, keepdim=True)
    counts = present.sum(1, keepdim=True)
    # Padding repeats whatever classes sort last; `valid` keeps them out of every term.
    true = present.int().argsort(stable=True, dim=1, descending=True)[:, : max(int(counts.max()), 1)]
    valid = torch.arange(true.shape[1], device=logits.device) < counts
    return torch.cat([true, confusing], 1), valid & absent.any(1, keepdim=True)


@PARTS.register("icasc")
@dataclass(eq=False)
class ICASC(Part):
    """Classification, separated attention at two layers, and consistency between them.

    ICASC Eq. 6: L = L_C + L_AS^in + L_AS^la + L_AC, on maps of the true and of the most confusing class, at the
    last feature layer and at the end of the stage before. One mask, from the last layer's map of the true class,
    resized bilinearly for the inner layer, serves all three terms. In multi-label images the terms average over an
    image's true classes. An image without a wrong class adds nothing to them.

    The paper gives each term the weight 1 and writes Eq. 3 to 5 for raw maps (preset "literal"); preset "paper" divides
    each map by its own maximum, see `separation_and_consistency` for the difference. Both cost accuracy where they were
    measured. Preset "light", with weights of 0.1, costs none beyond the spread over seeds, and still separates them.

    L_AS can be added at further layers (Sec. 3.2, "any other layers"): name them all, the last one last. The term of
    a further layer is called separation_LAYER and has the weight of L_AS^in.

    Terms: "classification", "separation_inner", "separation_last", "consistency".

    Args:
        mechanism: mechanism that makes the maps; `channel_weighted` is the paper's A_ch.
        layers: (inner, last), further ones before them; found in the backbone if not given.
        separation_inner: weight of L_AS^in; by preset if not given.
        separation_last: weight of L_AS^la; by preset if not given.
        consistency: weight of L_AC; by preset if not given.
        sigma: the mask's threshold as a share of the map's maximum (Eq. 4).
        omega: the mask's steepness (Eq. 4).
        theta: offset of L_AC (Eq. 5).
        preset: "light", weights of 0.1; "paper", weights of 1; or "literal", that without normalising.
        normalize: maps to divide by their own maximum: "none", the "mask"'s alone, or "each"; by preset if not given.
        warmup: training steps over which the three weights rise from 0.
        detach_mask: stop the gradient through the mask.
        detach_weights: stop the gradient through the maps' channel weights: no second-order terms, cheaper.
        label_smoothing: share of the target spread over all classes.
        classifies: include the classification loss; off to combine with another part that has it.

    Example:
        >>> from looksharp.networks import CifarResNet
        >>> objective = ICASC()
        >>> step = objective(CifarResNet(20, 10), (torch.rand(2, 3, 32, 32), torch.tensor([1, 7])))
        >>> step.loss.backward()
        >>> sorted(step.terms)
        ['classification', 'consistency', 'separation_inner', 'separation_last']

    """

    mechanism: MechanismChoice = "channel_weighted"
    layers: tuple[str, ...] | None = None
    _: KW_ONLY
    separation_inner: float | None = None
    separation_last: float | None = None
    consistency: float | None = None
    sigma: float = 0.55
    omega: float = 100.0
    theta: float = 0.8
    preset: Literal["light", "paper", "literal"] = "light"
    normalize: Normalize | None = None
    warmup: int = 0
    detach_mask: bool = False
    detach_weights: bool = False
    label_smoothing: Smoothing = 0.0
    classifies: bool = True

    def __post_init__(self) -> None:
        find_trainable(self.mechanism)
        for name, value, allowed in (("preset", self.preset, _PRESETS), ("normalize", self.normalize, _NORMALIZE)):
            if value not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(filter(None, allowed))}; got {value!r}")
        self._choose, self._rise = LayerChoice(self.layers, 2, more=True), WarmUp(self.warmup)

    def recorded(self, model: nn.Module, batch: Batch) -> tuple[str, ...]:
        """Return the inner layers and the last."""
        return self._choose(model, batch)

    def terms(self, forward: Forward) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """Run one batched backward to the earliest layer, and return the terms, each a mean over the batch."""
        layers = self._choose(forward.model, forward.batch)
        classes, valid = confused_classes(forward.logits, forward.batch.target)
        maps = attention_maps(
            forward.output,
            forward.features.restricted(layers),
            classes,
            self.mechanism,
            create_graph=forward.differentiable,
            detach_weights=self.detach_weights,
        )
        precise = torch.promote_types(forward.logits.dtype, torch.float32)
        share = valid.to(precise) / valid.sum(1, keepdim=True).clamp(min=1)  # (B, T): an image's classes count as one
        factor = self._rise(forward)
        found = {}
        if self.classifies:
            loss = classification_loss(forward.logits, forward.batch, self.label_smoothing)
            found["classification"] = Term(loss)
        for name, (value, weight) in self._values([maps[layer] for layer in layers], layers).items():
            found[name] = Term((value * share).sum(1).mean(), factor * weight)
        return found, maps

    def _values(self, maps: Sequence[Tensor], layers: Sequence[str]) -> dict[str, tuple[Tensor, float]]:
        """Return the terms' values (B, T) with their weights, for raw maps of every layer, the last one last."""
        *further, inner, last = maps
        values = {name: (value, self._weight(name)) for name, value in self._compared(inner, last).items()}
        weight = self._weight("separation_inner")
        for layer, other in zip(layers[: len(further)], further, strict=True):
            values[f"separation_{layer}"] = (self._compared(other, last)["separation_inner"], weight)
        return values

    def _weight(self, name: str) -> float:
        given: float | None = getattr(self, name)
        return _PRESETS[self.preset].weight if given is None else given

    def _compared(self, inner: Tensor, last: Tensor) -> dict[str, Tensor]:
        return separation_and_consistency(
            inner,
            last,
            sigma=self.sigma,
            omega=self.omega,
            theta=self.theta,
            detach_mask=self.detach_mask,
            normalize=self.normalize or _PRESETS[self.preset].normalize,
        )
