"""Score-CAM."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from looksharp.attention.maps import resize_maps
from looksharp.attention.mechanisms.base import MECHANISMS, Answered, SinglePass
from looksharp.attention.mechanisms.scoring import rows_of
from looksharp.attention.mechanisms.weighting import safe_ratio, weighted_sum
from looksharp.attention.precision import at_least_float32
from looksharp.attention.recording import logits_of, look
from looksharp.attention.rerun import chunks, run_in_chunks
from looksharp.settings import settings

__all__ = ["ScoreCAM"]


@MECHANISMS.register("score_cam")
@settings
class ScoreCAM(SinglePass):
    """Weight each channel by the score of the image seen through it, Score-CAM.

    Wang et al. 2020, "Score-CAM: Score-Weighted Visual Explanations for Convolutional Neural Networks", Eq. 5 to 8:
    channel k, resized bilinearly to the image and stretched to [0, 1], multiplies the image; the softmax over channels
    of the class's logits is the weight of k (the logit of the baseline cancels in it). Costs a forward for each channel
    that is not the same everywhere; all others see one black image. torch-cam stretches before it resizes, and
    pytorch-grad-cam resizes with aligned corners: where features have the image's size all three are one.
    """

    signed = False

    def answered(self, model: nn.Module, images: Tensor, layers: Sequence[str]) -> Answered:
        """Run the model, and again on each image for every channel; see `ModelMechanism.maps`.

        Raises:
            ValueError: if the model is in training mode.
        """
        output, recording = look(model, images, layers, several=False)
        features = {layer: at_least_float32(read.detach()) for layer, read in recording.items()}
        seen = {
            layer: torch.stack([_seen_through(model, *each) for each in zip(images.split(1), read, strict=True)])
            for layer, read in features.items()
        }  # (B, C, classes) each

        def maps(classes: Tensor) -> dict[str, Tensor]:
            scores = {layer: logits.mT[rows_of(classes), classes] for layer, logits in seen.items()}  # (B, K, C)
            return {layer: weighted_sum(features[layer], of.softmax(2)) for layer, of in scores.items()}

        return Answered(logits_of(output).detach(), maps)


def _seen_through(model: nn.Module, image: Tensor, features: Tensor) -> Tensor:
    """Return the logits (C, classes) of an image (1, 3, H, W) multiplied by each of its maps (C, h, w)."""
    varied = (features.amax((1, 2)) > features.amin((1, 2))).nonzero().flatten()
    black = run_in_chunks(model, torch.zeros_like(image))
    logits = black.repeat(len(features), 1)
    size = (image.shape[-2], image.shape[-1])
    for places in chunks(len(varied), image):
        masks = resize_maps(features[varied[places]], size)  # (n, H, W)
        low, high = masks.amin((1, 2), keepdim=True), masks.amax((1, 2), keepdim=True)
        masks = safe_ratio(masks - low, high - low)
        logits[varied[places]] = run_in_chunks(model, image * masks.unsqueeze(1).to(image.dtype))
    return logits
