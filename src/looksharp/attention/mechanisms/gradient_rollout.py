"""Gradient attention rollout: the relevance of tokens by attention and its gradients."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from looksharp.attention.mechanisms.base import MECHANISMS, Answered, SinglePass
from looksharp.attention.propagation import gradient_relevance
from looksharp.attention.tokens import TokenPass, attend_tokens
from looksharp.attention.weights import weight_gradients
from looksharp.settings import settings

__all__ = ["GradientRollout"]


@MECHANISMS.register("gradient_rollout")
@settings
class GradientRollout(SinglePass):
    """Multiply attention weights, each times its positive gradient, over a transformer's layers (Chefer et al. 2021).

    Chefer, Gur and Wolf 2021, "Generic Attention-model Explainability for Interpreting Bi-Modal and Encoder-Decoder
    Transformers" (ICCV), Eq. 5 and 6; see `gradient_relevance`. Read is the row of the class token; where several
    tokens are classified (a distillation token beside it, or the mean of the patches), the mean of their rows less
    that of the identity, which the paper starts from and which would add the same to every patch. Where an attention
    pools the last tokens, its weights, each times its positive gradient, are multiplied with R. One forward, and one
    backward for each class.
    """

    layered = False
    signed = False

    def answered(self, model: nn.Module, images: Tensor, layers: Sequence[str]) -> Answered:
        """Run the model once; maps are of the patches that enter the first block.

        Raises:
            ValueError: if the model is no transformer whose layers attend to all tokens; see `tokens_of`.
        """
        found = attend_tokens(model, images, gradients=True)

        def maps(classes: Tensor) -> dict[str, Tensor]:
            relevance = torch.cat([_relevance(found, column) for column in classes.T], 1)  # (B, K, N)
            return {found.tokens.blocks[0]: found.to_map(relevance)}

        return Answered(found.logits.detach(), maps)


def _relevance(found: TokenPass, classes: Tensor) -> Tensor:
    """Return the relevance (B, 1, N) of tokens for one class per image (B,)."""
    chosen = F.one_hot(classes, found.logits.shape[1]).to(found.logits)
    weights = [each.plain() for each in found.weights]
    if found.pool is None:
        gradients = weight_gradients(found.logits, chosen, found.weights)
        return gradient_relevance(weights, gradients, found.rows) - found.rows
    *gradients, pooling = weight_gradients(found.logits, chosen, [*found.weights, found.pool])
    return gradient_relevance(weights, gradients, (found.pool.plain() * pooling).relu().mean(1))
