"""Maps of a layer that is pooled into one linear classifier, whose gradient is the classifier's weight."""

from __future__ import annotations

from torch import Tensor, nn

from looksharp.attention.mechanisms import MapFunction
from looksharp.attention.mechanisms.base import contrast_of
from looksharp.attention.precision import at_least_float32
from looksharp.attention.recording import PooledLinearHead, logits_of
from looksharp.exporting.mapped import ClassMaps
from looksharp.networks.tapping import tap

__all__ = ["PooledMaps"]


class PooledMaps(ClassMaps):
    """Give the maps of the highest-scoring classes in closed form.

    The gradient of a class's logit at every position is its weight in the linear layer over the number of positions,
    so any mechanism of features and gradients can be part of the forward.

    Args:
        network: the classifier.
        head: its pooled linear head.
        mechanism: the mechanism.
        top: number of classes.
        signed: keep values below 0.
    """

    def __init__(
        self, network: nn.Module, head: PooledLinearHead, mechanism: MapFunction, top: int, signed: bool
    ) -> None:
        super().__init__(network, head.layer, mechanism, top, signed)
        self.linear, self.formed = head.linear, mechanism

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return logits (B, C), classes (B, K) and maps (B, K, h, w)."""
        with tap(self.network, (self.layer,)) as taps:
            logits = logits_of(self.network(images))
        features = at_least_float32(taps.features(self.layer, images))
        classes = logits.topk(self.top).indices
        return logits, classes, self.ended(self.formed(features, self._gradients(logits, classes, features)))

    def _gradients(self, logits: Tensor, classes: Tensor, features: Tensor) -> Tensor:
        """Return the derivative (B, K, C, h, w) of each class's score with respect to the features."""
        height, width = features.shape[-2:]
        weight = self.linear.weight.to(features.dtype)
        contrast = contrast_of(self.formed, logits, classes)
        chosen = weight[classes] if contrast is None else contrast.to(weight.dtype) @ weight  # (B, K, C)
        return (chosen / (height * width))[..., None, None].expand(-1, -1, -1, height, width)
