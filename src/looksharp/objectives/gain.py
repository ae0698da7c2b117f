"""GAIN: attention that covers all evidence of the class. GAIN_ext is `GAIN() + Guidance()`."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from looksharp.attention.maps import normalize_maps, resize_maps
from looksharp.attention.mechanisms import MechanismChoice, find_trainable
from looksharp.batch import Batch
from looksharp.objectives.base import PARTS, Forward, Part, Term
from looksharp.objectives.classification import Smoothing, classification_loss
from looksharp.objectives.equations import attention_mining, mask_out, soft_threshold
from looksharp.objectives.layer_choice import LayerChoice
from looksharp.objectives.pair_maps import pair_maps, true_classes
from looksharp.objectives.second_pass import second_pass
from looksharp.objectives.warm_up import WarmUp

__all__ = ["GAIN"]


@PARTS.register("gain")
@dataclass(eq=False)
class GAIN(Part):
    """Classification and attention mining: without the attended region, nothing of the class must remain.

    GAIN Eq. 6: L_self = L_cl + alpha L_am. The map of each true class at the last layer (Eq. 1 and 2), divided by
    its maximum and resized to the image, becomes a soft mask (Eq. 4). The image without the masked region (Eq. 3)
    goes through the same network, and L_am is the class's remaining probability (Eq. 5). The paper gives
    no numbers for sigma and omega. BatchNorm's statistics do not see the masked images.

    With a guidance loss it is GAIN_ext (Eq. 8 and Fig. 3). Images drawn for their marks (`Batch.external`) are the
    stream S_e, which serves L_e alone; the other images are the stream S_cl of L_cl and L_am.

    Args:
        mechanism: mechanism that makes the maps; Grad-CAM in the paper.
        layer: layer whose maps are read; found in the backbone if not given.
        alpha: weight of L_am.
        sigma: threshold of the soft mask, as a share of the map's maximum.
        omega: steepness of the soft mask.
        fill: colour that replaces the masked region, normalised; 0 is the data set's mean colour.
        external: "alone", as in the paper's Fig. 3, uses images drawn for their marks in the guidance loss alone;
            "shared" uses them in L_cl and L_am as well.
        labels: mine "all" true classes of a multi-label image (one masked image each), or one "sampled" per step: about
            the cost of single-label training, and the same loss in expectation.
        warmup: training steps over which alpha rises from 0.
        label_smoothing: share of the target spread over all classes.
        classifies: include the classification loss; off to combine with another part that has it.

    Example:
        >>> from looksharp.networks import CifarResNet
        >>> step = GAIN()(CifarResNet(20, 10), (torch.rand(2, 3, 32, 32), torch.tensor([1, 7])))
        >>> step.loss.backward()
        >>> sorted(step.terms)
        ['classification', 'mining']
    """

    mechanism: MechanismChoice = "grad_cam"
    layer: str | None = None
    _: KW_ONLY
    alpha: float = 1.0
    sigma: float = 0.5
    omega: float = 10.0
    fill: float = 0.0
    labels: Literal["all", "sampled"] = "all"
    external: Literal["alone", "shared"] = "alone"
    warmup: int = 0
    label_smoothing: Smoothing = 0.0
    classifies: bool = True

    def __post_init__(self) -> None:
        if self.labels not in ("all", "sampled"):
            raise ValueError(f"labels must be 'all' or 'sampled'; got {self.labels!r}")
        if self.external not in ("alone", "shared"):
            raise ValueError(f"external must be 'alone' or 'shared'; got {self.external!r}")
        find_trainable(self.mechanism)
        self._choose = LayerChoice(None if self.layer is None else [self.layer], 1)
        self._rise = WarmUp(self.warmup)

    def recorded(self, model: nn.Module, batch: Batch) -> tuple[str, ...]:
        """Return the last layer."""
        return self._choose(model, batch)

    def terms(self, forward: Forward) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """Mask out each true class's attention, run the model again, and read what is left of the class."""
        batch = forward.batch
        found = {}
        places = batch.labelled if self.external == "alone" else torch.arange(len(batch), device=batch.image.device)
        if self.classifies:
            found["classification"] = Term(self._classification(forward, places))
        (layer,) = self._choose(forward.model, batch)
        samples, classes = true_classes(batch.target[places], sampled=self.labels == "sampled")
        samples = places[samples]
        weight = self.alpha * self._rise(forward)
        if not len(samples):
            return found | {"mining": Term(forward.logits.new_zeros(()), weight)}, {}
        most = None if batch.multilabel and self.labels == "all" else 1
        attention = pair_maps(forward, layer, samples, classes, self.mechanism, most=most)  # (P, h, w)
        size = (batch.image.shape[-2], batch.image.shape[-1])
        mask = soft_threshold(resize_maps(normalize_maps(attention), size), self.sigma, self.omega)
        masked = mask_out(batch.image[samples], mask, self.fill).to(
            batch.image.dtype
        )  # maps are precise, models may not be
        left = attention_mining(second_pass(forward.model, masked), classes, multilabel=batch.multilabel)
        # Mean over an image's classes, then over the images that have any.
        counts = torch.bincount(samples, minlength=len(batch))
        value = (left / counts[samples]).sum() / (counts > 0).sum()
        return found | {"mining": Term(value, weight)}, {}

    def _classification(self, forward: Forward, places: Tensor) -> Tensor:
        """Return L_cl of the images at some places."""
        if len(places) == len(forward.batch):
            return classification_loss(forward.logits, forward.batch, self.label_smoothing)
        losses = classification_loss(forward.logits, forward.batch, self.label_smoothing, "none")
        return losses[places].sum() / max(len(places), 1)
