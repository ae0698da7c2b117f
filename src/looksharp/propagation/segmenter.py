"""Fit a small segmenter to a few marked images."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from looksharp.propagation.unet import SmallUNet

__all__ = ["Drawn", "fit_segmenter", "predict"]

_BATCH = 16
_LR, _DECAY = 6e-3, 0.05
_SHIFT = 6  # a shift of up to this part of a side
_JITTER = 0.3  # standard deviation of a channel's gain and offset, in standard deviations of the pixels


class Drawn:
    """Draw altered batches of marked images: shifted, recoloured and, if asked, mirrored.

    Colours vary because a mark shows where the object is: a segmenter that tells it by the colour of its surroundings
    would mark a cue as well.

    Args:
        images: (N, 3, H, W), normalised.
        masks: (N, H, W) in [0, 1].
        mirror: mirror half of the images.
        any_colour: exchange the colour channels at random too.
        seed: seed of all that is drawn.
    """

    def __init__(self, images: Tensor, masks: Tensor, *, mirror: bool, any_colour: bool = False, seed: int) -> None:
        self.stacked = torch.cat([images, masks.unsqueeze(1)], 1)  # (N, 4, H, W), so that both move alike
        self.mirror, self.any_colour = mirror, any_colour
        self.generator = torch.Generator().manual_seed(seed)

    def batch(self, size: int = _BATCH) -> tuple[Tensor, Tensor]:
        """Return images (size, 3, H, W) and masks (size, H, W)."""
        chosen = torch.randint(len(self.stacked), (size,), generator=self.generator)
        moved = torch.stack([self._moved(self.stacked[place]) for place in chosen.tolist()])
        images, masks = moved[:, :3], moved[:, 3]
        if self.any_colour:
            orders = torch.stack([torch.randperm(3, generator=self.generator) for _ in range(size)])
            images = images[torch.arange(size).unsqueeze(1), orders]
        gain, offset = (_JITTER * torch.randn(2, size, 3, 1, 1, generator=self.generator)).to(images.device)
        return images * (1 + gain) + offset, masks

    def _moved(self, stacked: Tensor) -> Tensor:
        height, width = stacked.shape[-2:]
        down, right = (self._within(max(length // _SHIFT, 1)) for length in (height, width))
        mirrored = self.mirror and bool(torch.rand((), generator=self.generator) < 0.5)
        moved = stacked.roll((down, right), (-2, -1))
        return moved.flip(-1) if mirrored else moved

    def _within(self, most: int) -> int:
        return int(torch.randint(-most, most + 1, (), generator=self.generator))


def fit_segmenter(
    images: Tensor,
    masks: Tensor,
    *,
    steps: int,
    mirror: bool = False,
    any_colour: bool = False,
    seed: int = 0,
    advance: Callable[[], object] = lambda: None,
) -> SmallUNet:
    """Train a `SmallUNet` on marked images alone, by binary cross-entropy.

    Args:
        images: (N, 3, H, W), normalised; the segmenter is trained on their device.
        masks: (N, H, W) in [0, 1].
        steps: training steps of 16 images.
        mirror: mirror half of the images.
        any_colour: exchange the colour channels at random, so that a thing is found in colours that are not marked.
        seed: seed of the weights and of all that is drawn.
        advance: called after each step, as by a progress bar.

    Returns:
        The segmenter, in evaluation mode.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network = SmallUNet().to(images.device)
    drawn = Drawn(images, masks, mirror=mirror, any_colour=any_colour, seed=seed)
    optimizer = torch.optim.AdamW(network.parameters(), _LR, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LR, total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        batch, wanted = drawn.batch()
        loss = F.binary_cross_entropy_with_logits(network(batch), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        advance()
    return network.eval()


@torch.no_grad()
def predict(network: SmallUNet, images: Tensor) -> Tensor:
    """Return the probability (N, H, W) of the object at every pixel of images (N, 3, H, W)."""
    return network(images).sigmoid()
