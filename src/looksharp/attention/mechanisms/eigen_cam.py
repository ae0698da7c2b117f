"""Eigen-CAM."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from looksharp.attention.mechanisms.base import MECHANISMS, Answered, SinglePass
from looksharp.attention.recording import logits_of, look
from looksharp.settings import settings

__all__ = ["EigenCAM", "principal_map"]


@MECHANISMS.register("eigen_cam")
@settings
class EigenCAM(SinglePass):
    """Project features on their first principal component, Eigen-CAM.

    Muhammad and Yeasin 2020, "Eigen-CAM", Eq. 2 and 3: O = U S V^T, map = O v_1, with O the (h w, C) features of one
    image and v_1 the first right singular vector. The sign, which a singular vector leaves open, makes the value of
    largest magnitude positive. No class is asked for: every class has the same map. pytorch-grad-cam subtracts each
    channel's mean first, and leaves the sign to chance.

    Args:
        centered: subtract each channel's mean over positions first.
    """

    signed = False
    uses_classes = False

    centered: bool = False

    def answered(self, model: nn.Module, images: Tensor, layers: Sequence[str]) -> Answered:
        """Run the model once; the map is repeated for each class."""
        output, features = look(model, images, layers, several=False)
        found = {layer: principal_map(read.detach(), centered=self.centered) for layer, read in features.items()}
        return Answered(
            logits_of(output).detach(),
            lambda classes: {
                layer: projected.unsqueeze(1).repeat(1, classes.shape[1], 1, 1) for layer, projected in found.items()
            },
        )


def principal_map(features: Tensor, *, centered: bool) -> Tensor:
    """Project features (B, C, h, w) on their first principal component over positions, (B, h, w).

    Args:
        features: (B, C, h, w).
        centered: subtract each channel's mean over positions first.
    """
    dtype = features.dtype if features.dtype == torch.float64 else torch.float32
    # Squares lose half of the digits.
    precise = features.flatten(2).to(dtype if features.device.type == "mps" else torch.float64)  # (B, C, P)
    if centered:
        precise = precise - precise.mean(2, keepdim=True)
    channels, positions = precise.shape[1:]
    if channels <= positions:
        direction = torch.linalg.eigh(precise @ precise.mT).eigenvectors[:, :, -1:]  # (B, C, 1)
        projected = (direction.mT @ precise).squeeze(1)
    else:
        values, vectors = torch.linalg.eigh(precise.mT @ precise)
        projected = vectors[:, :, -1] * values[:, -1:].clamp_min(0).sqrt()  # u_1 s_1 = O v_1
    peak = projected.gather(1, projected.abs().argmax(1, keepdim=True))
    return (projected * torch.where(peak < 0, -1, 1)).unflatten(1, features.shape[2:]).to(dtype)
