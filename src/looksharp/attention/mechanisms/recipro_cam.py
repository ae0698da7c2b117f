"""Recipro-CAM."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from looksharp.attention.mechanisms.base import MECHANISMS, Answered, SinglePass
from looksharp.attention.mechanisms.scoring import Score, scores_of
from looksharp.attention.precision import at_least_float32
from looksharp.attention.recording import logits_of, look
from looksharp.attention.rerun import rerun_behind
from looksharp.settings import settings

__all__ = ["ReciproCAM"]


@MECHANISMS.register("recipro_cam")
@settings
class ReciproCAM(SinglePass):
    """Map the class's score when the network is left the features of one place alone, Recipro-CAM.

    Byun and Lee 2022, "Recipro-CAM: Fast gradient-free visual explanations for convolutional neural networks", Eq. 1 to
    4: all features are multiplied by a mask around each position in turn. The score without any features is
    subtracted, so that values below 0 are evidence against the class; the paper stretches the map to [0, 1] instead,
    after which both are one. No gradient is needed, so an exported network can do the same. A layer that is pooled into
    one linear layer needs one forward; any other, one for each position of what follows it. Class and register tokens
    stay as they are.

    Args:
        gaussian: let a position's eight neighbours through too, by the weights of a 3x3 binomial filter.
        score: the class's logit, or its probability, as in the authors' code.
    """

    gaussian: bool = True
    score: Score = "logit"

    def answered(self, model: nn.Module, images: Tensor, layers: Sequence[str]) -> Answered:
        """Run the model, and again what follows the layer for every position; see `ModelMechanism.maps`.

        Raises:
            ValueError: if the model is in training mode, unless the layer is pooled into one linear layer.
        """
        output, recording = look(model, images, layers, several=False)
        head = recording.pooled_linear_head(logits_of(output))
        alone = {
            layer: _closed(read, head.linear, self.spread)
            if head is not None and layer == head.layer
            else self._rerun(model, images, layer, read.shape[2:])
            for layer, read in recording.items()
        }  # (B, h w + 1, classes) each

        def maps(classes: Tensor) -> dict[str, Tensor]:
            found = {}
            for layer, logits in alone.items():
                each = zip(logits, classes, strict=True)
                scores = torch.stack([scores_of(of, own, self.score) for of, own in each])  # (B, h w + 1, K)
                found[layer] = (scores[:, :-1] - scores[:, -1:]).mT.unflatten(2, recording[layer].shape[2:])
            return found

        return Answered(logits_of(output).detach(), maps)

    def _rerun(self, model: nn.Module, images: Tensor, layer: str, size: torch.Size) -> Tensor:
        """Return the logits (B, h w + 1, classes) of every position alone, and of none."""
        positions = size.numel()

        def alone(features: Tensor, places: Tensor) -> Tensor:
            places = places.to(features.device)
            masks = F.one_hot(places, positions + 1)[:, :positions].to(features.dtype).view(-1, 1, *size)
            return features * self.spread(masks)

        return rerun_behind(model, images, layer, positions + 1, alone)

    def spread(self, masks: Tensor) -> Tensor:
        """Let the neighbours of what masks (N, 1, h, w) leave through too, if they are to; outside they are 0."""
        if not self.gaussian:
            return masks
        row = masks.new_tensor([0.25, 0.5, 0.25])
        return F.conv2d(masks, torch.outer(row, row)[None, None], padding=1)


def _closed(features: Tensor, linear: nn.Linear, spread: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the logits (B, h w + 1, classes) of every position alone, and of none, behind pooling and `linear`."""
    precise = at_least_float32(features.detach())
    weight = linear.weight.detach().to(precise.dtype)  # (classes, C)
    maps = torch.einsum("nc,bchw->bnhw", weight, precise) / precise[0, 0].numel()
    logits = spread(maps.flatten(0, 1).unsqueeze(1)).view_as(maps).flatten(2).mT  # (B, h w, classes)
    logits = F.pad(logits, (0, 0, 0, 1))
    return logits if linear.bias is None else logits + linear.bias.detach().to(precise.dtype)
