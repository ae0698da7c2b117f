"""ICASC: separable attention of confused classes, consistent across layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from looksharp.attention.attend import attention_maps
from looksharp.attention.mechanisms import Mechanism, find_mechanism
from looksharp.batch import Batch
from looksharp.objectives.base import Forward, LayerChoice, Objective, Part, Term, WarmUp
from looksharp.objectives.classification import ClassificationPart
from looksharp.objectives.equations import separation_and_consistency

__all__ = ["ICASC", "SeparationPart", "confused_classes"]


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


class SeparationPart(Part):
    """The attention terms of ICASC: "separation_inner", "separation_last", "consistency"; see `ICASC`."""

    def __init__(
        self,
        mechanism: str | Mechanism = "channel_weighted",
        layers: tuple[str, str] | None = None,
        separation_inner: float = 1.0,
        separation_last: float = 1.0,
        consistency: float = 1.0,
        sigma: float = 0.55,
        omega: float = 100.0,
        theta: float = 0.8,
        warmup: int = 0,
        detach_mask: bool = False,
        detach_weights: bool = False,
    ) -> None:
        super().__init__()
        self.mechanism = find_mechanism(mechanism)
        self.choose = LayerChoice(layers, 2)
        self.weights = {
            "separation_inner": separation_inner,
            "separation_last": separation_last,
            "consistency": consistency,
        }
        self.sigma, self.omega, self.theta = sigma, omega, theta
        self.detach_mask, self.detach_weights = detach_mask, detach_weights
        self.warmup = WarmUp(warmup)

    def layers(self, model: nn.Module, batch: Batch) -> tuple[str, ...]:
        """The inner layer and the last."""
        return self.choose(model, batch)

    def forward(self, forward: Forward) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """One batched backward to the inner layer, and the three terms, each a mean over the batch."""
        inner, last = self.choose(forward.model, forward.batch)
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
        factor = self.warmup(forward)
        return {
            name: Term((value * share).sum(1).mean(), factor * self.weights[name]) for name, value in values.items()
        }, maps


class ICASC(Objective):
    """Classification, separated attention at two layers, and consistency between them.

    ICASC Eq. 6: L = L_C + L_AS^in + L_AS^la + L_AC, on maps of the true and of the most confusing class, at the
    last feature layer and at the end of the stage before. Each map is divided by its own maximum before
    Eq. 3 to 5, since the mask of Eq. 4 thresholds nothing on raw maps; one mask, from the last layer's map of the
    true class, resized bilinearly for the inner layer, serves all three terms. With several labels the terms
    average over an image's true classes. An image with no wrong class adds nothing to them.

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

    Example:
        >>> from looksharp.networks import CifarResNet
        >>> objective = ICASC()
        >>> step = objective(CifarResNet(20, 10), (torch.rand(2, 3, 32, 32), torch.tensor([1, 7])))
        >>> step.loss.backward()
        >>> sorted(step.terms)
        ['classification', 'consistency', 'separation_inner', 'separation_last']

    """

    def __init__(
        self,
        mechanism: str | Mechanism = "channel_weighted",
        layers: tuple[str, str] | None = None,
        separation_inner: float = 1.0,
        separation_last: float = 1.0,
        consistency: float = 1.0,
        sigma: float = 0.55,
        omega: float = 100.0,
        theta: float = 0.8,
        warmup: int = 0,
        detach_mask: bool = False,
        detach_weights: bool = False,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(
            ClassificationPart(label_smoothing),
            SeparationPart(
                mechanism,
                layers,
                separation_inner,
                separation_last,
                consistency,
                sigma,
                omega,
                theta,
                warmup,
                detach_mask,
                detach_weights,
            ),
        )
