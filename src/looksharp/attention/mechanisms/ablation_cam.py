"""Ablation-CAM."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from looksharp.attention.mechanisms.base import MECHANISMS, Answered, SinglePass
from looksharp.attention.mechanisms.scoring import rows_of
from looksharp.attention.mechanisms.weighting import SPATIAL, safe_ratio, weighted_sum
from looksharp.attention.precision import at_least_float32
from looksharp.attention.recording import logits_of, look
from looksharp.attention.rerun import rerun_behind
from looksharp.settings import settings

__all__ = ["AblationCAM"]


@MECHANISMS.register("ablation_cam")
@settings
class AblationCAM(SinglePass):
    """Weight each channel by how far the class's score falls without it, Ablation-CAM.

    Desai and Ramaswamy 2020, "Ablation-CAM: Visual Explanations for Deep Convolutional Network via Gradient-free
    Localization", Eq. 4 and 5: w_k = (y - y_k) / |y|, with y the class's logit and y_k the logit with channel k at 0.
    The paper divides by y, which turns the map's sign where the logit is negative. A layer that is pooled into one
    linear layer needs one forward; any other, one for each channel of what follows it. pytorch-grad-cam sets channels
    to 0 where the least feature is 0, and to a large negative number elsewhere.
    """

    def answered(self, model: nn.Module, images: Tensor, layers: Sequence[str]) -> Answered:
        """Run the model, and again what follows the layer for every channel; see `ModelMechanism.maps`.

        Raises:
            ValueError: if the model is in training mode, unless the layer is pooled into one linear layer.
        """
        output, recording = look(model, images, layers, several=False)
        head = recording.pooled_linear_head(logits_of(output))
        logits = at_least_float32(logits_of(output).detach())
        features = {layer: at_least_float32(read.detach()) for layer, read in recording.items()}
        ablated = {
            layer: rerun_behind(model, images, layer, read.shape[1], _without)  # (B, C, classes)
            for layer, read in features.items()
            if head is None or layer != head.layer
        }

        def falls(layer: str, classes: Tensor) -> Tensor:
            """Return how far each score (B, K) falls without each channel, (B, K, C)."""
            if layer in ablated:
                return logits.gather(1, classes).unsqueeze(2) - ablated[layer].mT[rows_of(classes), classes]
            assert head is not None
            weight = head.linear.weight.detach()[classes].to(logits.dtype)
            return weight * features[layer].mean(SPATIAL).unsqueeze(1)

        def maps(classes: Tensor) -> dict[str, Tensor]:
            size = logits.gather(1, classes).abs().unsqueeze(2)
            return {
                layer: weighted_sum(read, safe_ratio(falls(layer, classes), size)) for layer, read in features.items()
            }

        return Answered(logits, maps)


def _without(features: Tensor, places: Tensor) -> Tensor:
    """Return copies of one image's features (1, C, h, w), each without one channel."""
    copies = features.repeat(len(places), 1, 1, 1)
    copies[torch.arange(len(places), device=places.device), places] = 0
    return copies
