"""Attention rollout."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from looksharp.attention.mechanisms.base import MECHANISMS, Answered, SinglePass
from looksharp.attention.propagation import attention_rollout
from looksharp.attention.tokens import attend_tokens
from looksharp.settings import settings

__all__ = ["Rollout"]


@MECHANISMS.register("rollout")
@settings
class Rollout(SinglePass):
    """Multiply a transformer's attention weights over its layers, residuals included (attention rollout).

    Abnar and Zuidema 2020, "Quantifying Attention Flow in Transformers"; see `attention_rollout`. Read is the row of
    the class token; where several tokens are classified (a distillation token beside it, or the mean of the patches),
    the mean of their rows; where an attention pools the last tokens, its weights times the rollout. No gradient and no
    class: the map is the same for all classes. One forward.
    """

    layered = False
    signed = False
    uses_classes = False

    def answered(self, model: nn.Module, images: Tensor, layers: Sequence[str]) -> Answered:
        """Run the model once; the map, of the patches that enter the first block, is repeated for each class.

        Raises:
            ValueError: if the model is no transformer whose layers attend to all tokens; see `tokens_of`.
        """
        found = attend_tokens(model, images)
        relevance = attention_rollout([each.plain() for each in found.weights], found.rows)  # (B, 1, N)
        one = found.to_map(relevance)
        return Answered(found.logits, lambda classes: {found.tokens.blocks[0]: one.repeat(1, classes.shape[1], 1, 1)})
