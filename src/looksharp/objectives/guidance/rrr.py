"""Right for the right reasons: no input gradient outside the mask."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from looksharp.attention.second_derivative import FastSecondDerivative
from looksharp.attention.unfused import UnfusedAttention
from looksharp.batch import Batch, BatchMarks
from looksharp.objectives.base import PARTS, Forward
from looksharp.objectives.equations import guidance_input_gradient
from looksharp.objectives.guidance.base import GuidanceLoss
from looksharp.objectives.second_pass import second_pass

__all__ = ["RightForTheRightReasons"]


@PARTS.register("rrr")
@dataclass(eq=False)
class RightForTheRightReasons(GuidanceLoss):
    """Keep the input gradient inside the mask: Ross et al. 2017; see `guidance_input_gradient`.

    Costs another pass over the marked images and a second derivative through the whole network.

    Args:
        weight: weight of the term.
        warmup: training steps over which the weight rises from 0.
    """

    weight: float = 10.0

    def recorded(self, model: nn.Module, batch: Batch) -> tuple[str, ...]:
        """Return no layers: the gradient is that of the image."""
        return ()

    def losses(self, forward: Forward, marks: BatchMarks) -> Tensor:
        """Return the squared input gradient outside each pair's mask, (G,)."""
        trained = forward.differentiable
        # Fused attention has no second derivative. Evaluation needs a first one, whatever mode it runs in.
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            UnfusedAttention(),
            FastSecondDerivative(lambda: trained),
        ):
            images = forward.batch.image[marks.sample].detach().requires_grad_()
            logits = second_pass(forward.model, images)
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
            score = (F.logsigmoid(logits) if forward.batch.multilabel else logits.log_softmax(1)).sum()
            (gradient,) = torch.autograd.grad(score, images, create_graph=trained)
        gradient = gradient.to(torch.promote_types(gradient.dtype, torch.float32))  # whose squares are small
        return guidance_input_gradient(gradient, marks.mask.to(gradient.dtype))
