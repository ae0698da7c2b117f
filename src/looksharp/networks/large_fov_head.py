"""The head of DeepLab-CRF-LargeFOV: VGG's connected layers as convolutions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["LargeFOVHead"]

_POSITIONS = 7  # that VGG's first connected layer reads, a side


class LargeFOVHead(nn.Module):
    """A dilated 3 x 3 convolution and a 1 x 1 convolution, each with ReLU and dropout.

    Args:
        channels: channels of the map (B, channels, h, w).
        width: channels of both convolutions.
        dilation: dilation of the first.
        dropout: dropout behind each.
    """

    def __init__(self, channels: int, width: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.fc6 = nn.Conv2d(channels, width, 3, padding=dilation, dilation=dilation)
        self.fc7 = nn.Conv2d(width, width, 1)
        self.relu, self.dropout = nn.ReLU(), nn.Dropout(dropout)
        for layer in (self.fc6, self.fc7):
            nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, maps: Tensor) -> Tensor:
        """Return a map (B, width, h, w)."""
        maps = self.dropout(self.relu(self.fc6(maps)))
        found: Tensor = self.dropout(self.relu(self.fc7(maps)))
        return found

    @torch.no_grad()
    def cut_from(self, first: nn.Linear | nn.Conv2d, second: nn.Linear | nn.Conv2d) -> bool:
        """Start from two connected layers: every third of 7 x 7 positions, and evenly spaced channels.

        Returns:
            True if their sizes fit; nothing is changed otherwise.
        """
        width, channels = self.fc6.out_channels, self.fc6.in_channels
        if first.weight[0].numel() != channels * _POSITIONS**2 or len(first.weight) < width:
            return False
        step = len(first.weight) // width
        kept = slice(0, step * width, step)
        positions = first.weight.view(-1, channels, _POSITIONS, _POSITIONS)
        self.fc6.weight.copy_(positions[kept, :, ::3, ::3])
        self.fc7.weight.copy_(second.weight.flatten(1)[kept, kept, None, None])
        for own, other in ((self.fc6, first), (self.fc7, second)):
            assert own.bias is not None
            assert other.bias is not None
            own.bias.copy_(other.bias[kept])
        return True
