"""ICASC: separable attention of confused classes, consistent across layers."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor, nn

from looksharp.attention.attend import attention_maps
from looksharp.attention.mechanisms import MechanismChoice, find_mechanism
from looksharp.batch import Batch
from looksharp.objectives.base import PARTS, Forward, Part, Term
from looksharp.objectives.classification import classification_loss
from looksharp.objectives.equations import separation_and_consistency
from looksharp.objectives.layer_choice import LayerChoice
from looksharp.objectives.warm_up import WarmUp

__all__ = ["ICASC", "confused_classes"]


def confused_classes(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """True classes and the most confusing one: the wrong class with the highest score.

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
    last feature layer and at the end of the stage before. Each map is divided by its own maximum before
    Eq. 3 to 5, since the mask of Eq. 4 thresholds nothing on raw maps; one mask, from the last layer's map of the
    true class, resized bilinearly for the inner layer, serves all three terms. In multi-label images the terms
    average over an image's true classes. An image with no wrong class adds nothing to them.

    Terms: "classification", "separation_inner", "separation_last", "consistency".

    Args:
        mechanism: how maps are made; `channel_weighted` is the paper's A_ch.
        layers: (inner, last); found in the backbone if not given.
        separation_inner: weight of L_AS^in.
        separation_last: weight of L_AS^la.
        consistency: weight of L_AC.
        sigma: the mask's threshold as a share of the map's maximum (Eq. 4).
        omega: the mask's steepness (Eq. 4).
        theta: offset of L_AC (Eq. 5).
        warmup: training steps over which the three weights rise from 0.
        detach_mask: stop the gradient through the mask.
        detach_weights: stop the gradient through the maps' channel weights: no second-order terms, cheaper.
        label_smoothing: see `Classification`.
        classifies: have the classification loss among the terms; off to combine with another part that has it.

    Example:
        >>> from looksharp.networks import CifarResNet
        >>> objective = ICASC()
        >>> step = objective(CifarResNet(20, 10), (torch.rand(2, 3, 32, 32), torch.tensor([1, 7])))
        >>> step.loss.backward()
        >>> sorted(step.terms)
        ['classification', 'consistency', 'separation_inner', 'separation_last']

    """

    mechanism: MechanismChoice = "channel_weighted"
    layers: tuple[str, str] | None = None
    _: KW_ONLY
    separation_inner: float = 1.0
    separation_last: float = 1.0
    consistency: float = 1.0
    sigma: float = 0.55
    omega: float = 100.0
    theta: float = 0.8
    warmup: int = 0
    detach_mask: bool = False
    detach_weights: bool = False
    label_smoothing: float = 0.0
    classifies: bool = True

    def __post_init__(self) -> None:
        find_mechanism(self.mechanism)
        self._choose, self._rise = LayerChoice(self.layers, 2), WarmUp(self.warmup)

    def recorded(self, model: nn.Module, batch: Batch) -> tuple[str, ...]:
        """Return the inner layer and the last."""
        return self._choose(model, batch)

    def terms(self, forward: Forward) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """Run one batched backward to the inner layer, and return the terms, each a mean over the batch."""
        inner, last = self._choose(forward.model, forward.batch)
        classes, valid = confused_classes(forward.logits, forward.batch.target)
        maps = attention_maps(
            forward.output,
            forward.features.restricted((inner, last)),
            classes,
            self.mechanism,
            create_graph=forward.differentiable,
            detach_weights=self.detach_weights,
        )
        values = separation_and_consistency(
            maps[inner],
            maps[last],
            sigma=self.sigma,
            omega=self.omega,
            theta=self.theta,
            detach_mask=self.detach_mask,
        )
        share = valid / valid.sum(1, keepdim=True).clamp(min=1)  # (B, T): an image's classes count as one
        weights = {
            "separation_inner": self.separation_inner,
            "separation_last": self.separation_last,
            "consistency": self.consistency,
        }
        factor = self._rise(forward)
        found = {}
        if self.classifies:
            loss = classification_loss(forward.logits, forward.batch, self.label_smoothing)
            found["classification"] = Term(loss)
        for name, value in values.items():
            found[name] = Term((value * share).sum(1).mean(), factor * weights[name])
        return found, maps
