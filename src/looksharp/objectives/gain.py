"""GAIN: attention that leaves nothing of the class outside. GAIN_ext is `GAIN() + Guidance()`."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from looksharp.attention.maps import normalize_maps, resize_maps
from looksharp.attention.mechanisms import Mechanism, find_mechanism
from looksharp.batch import Batch
from looksharp.objectives.base import Forward, LayerChoice, Objective, Part, Term, WarmUp, second_pass
from looksharp.objectives.classification import ClassificationPart
from looksharp.objectives.equations import attention_mining, mask_out, soft_threshold
from looksharp.objectives.guidance import pair_maps

__all__ = ["GAIN", "MiningPart", "true_classes"]


def true_classes(targets: Tensor, *, sampled: bool = False) -> tuple[Tensor, Tensor]:
    """All (image, class) pairs of a batch's true classes, or one per image at random.

    Args:
        targets: class indices (B,), or multi-hot (B, C).
        sampled: draw one true class per image.

    Returns:
        samples (P,) in rising order, classes (P,). Images without a true class have no pair.
    """
    if targets.ndim == 1:
        return torch.arange(len(targets), device=targets.device), targets
    present = targets > 0.5
    if sampled:
        images = present.any(1).nonzero().squeeze(1)
        return images, torch.multinomial(present[images].float(), 1).squeeze(1) if len(images) else images
    samples, classes = present.nonzero(as_tuple=True)
    return samples, classes


class MiningPart(Part):
    """The term "mining" of GAIN; see `GAIN`."""

    def __init__(
        self,
        mechanism: str | Mechanism = "grad_cam",
        layer: str | None = None,
        alpha: float = 1.0,
        sigma: float = 0.5,
        omega: float = 10.0,
        fill: float = 0.0,
        labels: Literal["all", "sampled"] = "all",
        warmup: int = 0,
    ) -> None:
        super().__init__()
        if labels not in ("all", "sampled"):
            raise ValueError(f"labels must be 'all' or 'sampled'; got {labels!r}")
        self.mechanism = find_mechanism(mechanism)
        self.choose = LayerChoice(None if layer is None else [layer], 1)
        self.alpha, self.sigma, self.omega, self.fill, self.labels = alpha, sigma, omega, fill, labels
        self.warmup = WarmUp(warmup)

    def layers(self, model: nn.Module, batch: Batch) -> tuple[str, ...]:
        """The last layer."""
        return self.choose(model, batch)

    def forward(self, forward: Forward) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """Mask out each true class's attention, run the model again, and read what is left of the class."""
        batch = forward.batch
        (layer,) = self.choose(forward.model, batch)
        samples, classes = true_classes(batch.target, sampled=self.labels == "sampled")
        weight = self.alpha * self.warmup(forward)
        if not len(samples):
            return {"mining": Term(forward.logits.new_zeros(()), weight)}, {}
        most = None if batch.multilabel and self.labels == "all" else 1
        attention = pair_maps(forward, layer, samples, classes, self.mechanism, most=most)  # (P, h, w)
        size = (batch.image.shape[-2], batch.image.shape[-1])
        mask = soft_threshold(resize_maps(normalize_maps(attention), size), self.sigma, self.omega)
        masked = mask_out(batch.image[samples], mask, self.fill)
        left = attention_mining(second_pass(forward.model, masked), classes, multilabel=batch.multilabel)
        # Mean over an image's classes, then over the images that have any.
        counts = torch.bincount(samples, minlength=len(batch))
        value = (left / counts[samples]).sum() / (counts > 0).sum()
        return {"mining": Term(value, weight)}, {}


class GAIN(Objective):
    """Classification and attention mining: masking out the attended region must leave nothing of the class.

    GAIN Eq. 6: L_self = L_cl + alpha L_am. The map of each true class at the last layer (Eq. 1 and 2), divided by
    its maximum and resized to the image, becomes a soft mask (Eq. 4), the image loses what the mask covers
    (Eq. 3), goes through the same network, and L_am is the class's remaining probability (Eq. 5). The paper gives
    no numbers for sigma and omega. BatchNorm's statistics do not see the masked images.

    Args:
        mechanism: how maps are made; Grad-CAM in the paper.
        layer: the layer they are read from; found in the backbone if not given.
        alpha: weight of L_am.
        sigma: threshold of the soft mask, as a share of the map's maximum.
        omega: its steepness.
        fill: what replaces the masked region, in normalised colours; 0 is the data set's mean colour.
        labels: "all" true classes of a multi-label image (one masked image each), or one "sampled" per step: about
            the cost of single-label training, the same loss in expectation.
        warmup: training steps over which alpha rises from 0.
        label_smoothing: see `Classification`.

    Example:
        >>> from looksharp.networks import CifarResNet
        >>> step = GAIN()(CifarResNet(20, 10), (torch.rand(2, 3, 32, 32), torch.tensor([1, 7])))
        >>> step.loss.backward()
        >>> sorted(step.terms)
        ['classification', 'mining']
    """

    def __init__(
        self,
        mechanism: str | Mechanism = "grad_cam",
        layer: str | None = None,
        alpha: float = 1.0,
        sigma: float = 0.5,
        omega: float = 10.0,
        fill: float = 0.0,
        labels: Literal["all", "sampled"] = "all",
        warmup: int = 0,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(
            ClassificationPart(label_smoothing),
            MiningPart(mechanism, layer, alpha, sigma, omega, fill, labels, warmup),
        )
