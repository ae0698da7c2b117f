"""LeGrad."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor, nn
from torch.nn import functional as F

from looksharp.attention.mechanisms.base import MECHANISMS, Answered, SinglePass
from looksharp.attention.propagation import positive_sensitivity
from looksharp.attention.tokens import TokenPass, attend_tokens
from looksharp.attention.weights import weight_gradients
from looksharp.settings import settings

__all__ = ["LeGrad"]


@MECHANISMS.register("legrad")
@settings
class LeGrad(SinglePass):
    """Average the positive gradients of each layer's own class score by its attention weights (LeGrad).

    Bousselham et al. 2024, "LeGrad: An Explainability Method for Vision Transformers via Feature Formation
    Sensitivity", Sec. 3; see `positive_sensitivity`. A layer's score is what the network's own norm, pooling and
    classifier make of that layer's tokens. Where an attention pools the tokens, the gradient is by its weights, over
    each layer's tokens. The maps of layers are averaged, and not normalised.

    The authors' code differs: it takes the last two layers unless told otherwise, and scores the mean of all tokens
    where CLIP reads the class token. One forward, and one backward for each class.

    Args:
        last: number of layers, counted from the last one; all if not given.
    """

    layered = False
    signed = False

    last: Annotated[int, Ge(1)] | None = None

    def answered(self, model: nn.Module, images: Tensor, layers: Sequence[str]) -> Answered:
        """Run the model once; maps are of the patches that enter the first block.

        Raises:
            ValueError: if the model is no transformer whose layers attend to all tokens (see `tokens_of`), has fewer
                layers than `last`, or does not classify each layer's tokens.
        """
        found = attend_tokens(model, images, gradients=True, each_layer=True)
        count = self.last or len(found.weights)
        if count > len(found.weights):
            raise ValueError(f"legrad.last must be at most {len(found.weights)}, the network's layers; got {count}")

        def maps(classes: Tensor) -> dict[str, Tensor]:
            relevance = torch.stack([_sensitivity(found, column, count) for column in classes.T], 1)  # (B, K, N)
            return {found.tokens.blocks[0]: found.to_map(relevance)}

        return Answered(found.logits[-len(images) :].detach(), maps)


def _sensitivity(found: TokenPass, classes: Tensor, count: int) -> Tensor:
    """Return the sensitivity (B, N) of the last layers' scores of one class per image (B,), averaged over layers."""
    chosen = F.one_hot(classes, found.logits.shape[1]).to(found.logits).repeat(len(found.weights), 1)
    if found.pool is not None:
        layers = list(weight_gradients(found.logits, chosen, [found.pool])[0].unflatten(0, (-1, len(classes))))
        return torch.stack([positive_sensitivity(layer) for layer in layers[-count:]]).mean(0)
    # First by all blocks' tokens at once, then block by block, so that the gradients of one alone are held.
    through = torch.autograd.grad(found.logits, found.classified, chosen, retain_graph=True)
    total = torch.zeros((), device=chosen.device)
    for tokens, gradient, weights in list(zip(found.classified, through, found.weights, strict=True))[-count:]:
        (layer,) = weight_gradients(tokens, gradient, [weights])
        total = total + positive_sensitivity(layer)
    return total / count
