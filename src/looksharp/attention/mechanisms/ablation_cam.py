"""Ablation-CAM."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from looksharp.attention.mechanisms.base import MECHANISMS, ModelMechanism
from looksharp.attention.mechanisms.weighting import SPATIAL, safe_ratio, weighted_sum
from looksharp.attention.precision import at_least_float32
from looksharp.attention.recording import logits_of, look
from looksharp.attention.rerun import rerun_behind
from looksharp.settings import settings

__all__ = ["AblationCAM"]


@MECHANISMS.register("ablation_cam")
@settings
class AblationCAM(ModelMechanism):
    """Weight each channel by how far the class's score falls without it, Ablation-CAM.

    Desai and Ramaswamy 2020, "Ablation-CAM: Visual Explanations for Deep Convolutional Network via Gradient-free
    Localization", Eq. 4 and 5: w_k = (y - y_k) / |y|, with y the class's logit and y_k the logit with channel k at 0.
    The paper divides by y, which turns the map's sign where the logit is negative. A layer that is pooled into one
    linear layer needs one forward; any other, one for each channel of what follows it. pytorch-grad-cam sets channels
    to 0 where the least feature is 0, and to a large negative number elsewhere.
    """

    def maps(self, model: nn.Module, images: Tensor, classes: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Run what follows the layer once for every channel; see `ModelMechanism.maps`.

        Raises:
            ValueError: if the model is in training mode, unless the layer is pooled into one linear layer.
        """
        output, recording = look(model, images, layers)
        logits = logits_of(output)
        head = recording.pooled_linear_head(logits)
        whole = at_least_float32(logits.detach()).gather(1, classes)  # (B, K)
        found = {}
        for layer in layers:
            features = at_least_float32(recording[layer].detach())
            if head is not None and layer == head.layer:
                weight = head.linear.weight.detach()[classes].to(features.dtype)  # (B, K, C)
                falls = weight * features.mean(SPATIAL).unsqueeze(1)
            else:
                ablated = rerun_behind(model, images, layer, features.shape[1], _without)  # (B, C, classes)
                falls = whole.unsqueeze(2) - ablated.gather(2, classes.unsqueeze(1).expand(-1, len(ablated[0]), -1)).mT
            found[layer] = weighted_sum(features, safe_ratio(falls, whole.abs().unsqueeze(2)))
        return found


def _without(features: Tensor, places: Tensor) -> Tensor:
    """Return copies of one image's features (1, C, h, w), each without one channel."""
    copies = features.repeat(len(places), 1, 1, 1)
    copies[torch.arange(len(places), device=places.device), places] = 0
    return copies
