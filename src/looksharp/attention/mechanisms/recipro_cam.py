"""Recipro-CAM."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from looksharp.attention.mechanisms.base import MECHANISMS, ModelMechanism
from looksharp.attention.mechanisms.scoring import Score, scores_of
from looksharp.attention.precision import at_least_float32
from looksharp.attention.recording import Recording, logits_of, look
from looksharp.attention.rerun import rerun_behind
from looksharp.settings import settings

__all__ = ["ReciproCAM"]


@MECHANISMS.register("recipro_cam")
@settings
class ReciproCAM(ModelMechanism):
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

    def maps(self, model: nn.Module, images: Tensor, classes: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Run what follows the layer once for every position; see `ModelMechanism.maps`.

        Raises:
            ValueError: if the model is in training mode, unless the layer is pooled into one linear layer.
        """
        output, recording = look(model, images, layers)
        head = recording.pooled_linear_head(logits_of(output))
        found = {}
        for layer in layers:
            size = recording[layer].shape[2:]
            closed = head is not None and layer == head.layer
            logits = self._closed(recording, layer) if closed else self._rerun(model, images, layer, size)
            scores = torch.stack([scores_of(of, own, self.score) for of, own in zip(logits, classes, strict=True)])
            found[layer] = (scores[:, :-1] - scores[:, -1:]).mT.unflatten(2, size)  # (B, K, h, w)
        return found

    def _rerun(self, model: nn.Module, images: Tensor, layer: str, size: torch.Size) -> Tensor:
        """Return the logits (B, h w + 1, classes) of every position alone, and of none."""
        positions = size.numel()

        def alone(features: Tensor, places: Tensor) -> Tensor:
            places = places.to(features.device)
            masks = F.one_hot(places, positions + 1)[:, :positions].to(features.dtype).view(-1, 1, *size)
            return features * self._spread(masks)

        return rerun_behind(model, images, layer, positions + 1, alone)

    def _closed(self, recording: Recording, layer: str) -> Tensor:
        """Compute the same logits from the weights of a pooled linear layer."""
        assert recording.last_linear is not None
        linear, features = recording.last_linear[0], at_least_float32(recording[layer].detach())
        weight = linear.weight.detach().to(features.dtype)  # (classes, C)
        maps = torch.einsum("nc,bchw->bnhw", weight, features) / features[0, 0].numel()
        logits = self._spread(maps.flatten(0, 1).unsqueeze(1)).view_as(maps).flatten(2).mT  # (B, h w, classes)
        logits = F.pad(logits, (0, 0, 0, 1))
        return logits if linear.bias is None else logits + linear.bias.detach().to(features.dtype)

    def _spread(self, masks: Tensor) -> Tensor:
        """Filter masks (N, 1, h, w), which are 0 outside."""
        if not self.gaussian:
            return masks
        row = masks.new_tensor([0.25, 0.5, 0.25])
        return F.conv2d(masks, torch.outer(row, row)[None, None], padding=1)
