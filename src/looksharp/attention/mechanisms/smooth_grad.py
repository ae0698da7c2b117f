"""SmoothGrad at the input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor, nn

from looksharp.attention.input_gradients import copies_gradients
from looksharp.attention.mechanisms.base import IMAGE, MECHANISMS, ModelMechanism
from looksharp.attention.precision import at_least_float32
from looksharp.attention.rerun import chunks
from looksharp.settings import settings

__all__ = ["SmoothGrad"]


@MECHANISMS.register("smooth_grad")
@settings
class SmoothGrad(ModelMechanism):
    """Average the gradient over noisy copies of the image, and multiply by the image.

    Smilkov et al. 2017, "SmoothGrad: removing noise by adding noise", Sec. 3: the mean of the gradient over copies with
    Gaussian noise. Multiplied by the image less `fill` and summed over colour channels, it is evidence with a sign;
    the paper shows the gradient's magnitude alone. Every image gets the same noise, on its own scale. With one
    sample and no noise it is gradient times input.

    Args:
        samples: number of copies.
        noise: standard deviation, as a share of the range between an image's least and largest value.
        fill: value that counts as nothing, in the model's input: 0 is the mean colour of normalised images.
        seed: seed of the noise.
    """

    layered = False

    samples: Annotated[int, Ge(1)] = 25
    noise: Annotated[float, Ge(0)] = 0.15
    fill: float = 0.0
    seed: Annotated[int, Ge(0)] = 0

    def maps(self, model: nn.Module, images: Tensor, classes: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Run a forward, and a backward for each class, on every copy; see `ModelMechanism.maps`.

        Raises:
            ValueError: if the model is in training mode.
        """
        generator = torch.Generator().manual_seed(self.seed)
        spread = self.noise * (images.amax((1, 2, 3)) - images.amin((1, 2, 3)))  # (B,)
        total = torch.zeros((), device=images.device)
        for places in chunks(self.samples, images, even=True):
            # Copy by copy, so that the noise is the same whatever goes through the model at once.
            noise = torch.stack([torch.randn(images.shape[1:], generator=generator) for _ in places]).to(images)

            def noisy(some: Tensor, noise: Tensor = noise) -> Tensor:
                return images[some].unsqueeze(1) + spread[some].view(-1, 1, 1, 1, 1) * noise

            total = total + copies_gradients(model, images, classes, noisy, torch.ones(len(places)))
        mean = total / self.samples
        return {IMAGE: (mean * at_least_float32(images - self.fill).unsqueeze(1)).sum(2)}
